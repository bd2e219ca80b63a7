//! The result as one JSON object.

use crate::bench::Bench;
use crate::load::Outcome;
use crate::output::json_str;
use crate::timeline::{Phase, Timeline};
use crate::watch::{Watched, ticks_a_second};
use crate::wire;

/// Prints the result on standard output.
pub(crate) fn report(b: &Bench, outcome: &Outcome) {
    let (o, c) = (&b.o, &b.c);
    let Outcome {
        took,
        handshake_ms,
        unix_start,
        cpu_pct,
        watched,
    } = outcome;
    let took = *took;
    let per = 1000.0 / o.interval_ms as f64;
    let whole = ((took * 1000.0) as u64 / o.interval_ms) as usize;
    // the last bin may be cut a few microseconds short: count it as whole
    let bins = if took + 0.01 >= o.seconds {
        b.samples.len()
    } else {
        whole.min(b.samples.len())
    };
    let rates: Vec<u64> = b.samples[..bins]
        .iter()
        .map(|n| (*n as f64 * per).round() as u64)
        .collect();
    let mut sorted = rates.clone();
    sorted.sort_unstable();
    let med = match sorted.len() {
        0 => 0,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2,
    };
    let h = &b.batch.hist;
    let ver = if o.version == wire::V10 { "1.0" } else { "1.3" };
    let sw_gap = b.sw.iter().map(|w| w.max_gap).max().unwrap_or(0);
    println!(
        "{{\"tool\":\"ofbench\",\"version\":\"{}\",\"label\":{},\"of\":\"{ver}\",\"mode\":\"{}\",\"host\":{},\"port\":{},\"switches\":{},\"macs\":{},\"window\":{},\"buffer\":\"{}\",\"unknown_pct\":{},\"offered_rate\":{},\"seconds\":{:.3},\"warmup\":{},\"t0_unix\":{:.3},\"handshake_ms\":{handshake_ms},\
\"responses\":{},\"rate\":{:.0},\"rate_med\":{med},\"rate_min\":{},\"rate_max\":{},\"samples\":{:?},\"interval_ms\":{},\
\"sent\":{},\"lost\":{},\"dup\":{},\"unmatched\":{},\"flow_mods\":{},\"packet_outs\":{},\"lldp\":{},\"other\":{},\"errors\":{},\"bad_version\":{},\"throttled\":{},\
\"lat_us\":{{\"n\":{},\"mean\":{},\"p50\":{},\"p90\":{},\"p99\":{},\"p99.9\":{},\"max\":{}}},\
\"max_gap_ms\":{:.2},\"switch_max_gap_ms\":{:.2},\"disconnects\":{},\"refused\":{},\"bytes_in\":{},\"bytes_out\":{},\"cpu_pct\":{cpu_pct:.1},\"unanswered\":{},\"watched\":[{}],{}\"note\":{}}}",
        env!("CARGO_PKG_VERSION"),
        json_str(&o.label),
        if o.idle {
            "idle"
        } else if o.latency {
            "latency"
        } else if o.rate > 0.0 {
            "rate"
        } else {
            "throughput"
        },
        json_str(&o.host),
        o.port,
        o.switches,
        o.macs,
        o.window,
        if o.buffer { "id" } else { "none" },
        o.unknown_pct,
        o.rate,
        took,
        o.warmup,
        unix_start,
        c.responses,
        if took > 0.0 {
            c.responses as f64 / took
        } else {
            0.0
        },
        sorted.first().unwrap_or(&0),
        sorted.last().unwrap_or(&0),
        rates,
        o.interval_ms,
        c.sent,
        c.lost,
        c.dup,
        c.unmatched,
        c.flow_mods,
        c.packet_outs,
        c.probes,
        c.other,
        c.errors,
        c.bad_version,
        c.throttled,
        h.len(),
        us(h.mean() as u64),
        us(h.quantile(0.5)),
        us(h.quantile(0.9)),
        us(h.quantile(0.99)),
        us(h.quantile(0.999)),
        us(h.max()),
        b.max_gap as f64 / 1e6,
        sw_gap as f64 / 1e6,
        b.disconnects,
        b.refused,
        c.bytes_in,
        c.bytes_out,
        b.given_up + b.sw.iter().map(|w| w.outstanding as u64).sum::<u64>(),
        watched.iter().map(process).collect::<Vec<_>>().join(","),
        b.batch
            .line
            .as_ref()
            .map(|line| flood(b, line))
            .unwrap_or_default(),
        json_str(&b.first_error)
    );
}

fn us(ns: u64) -> String {
    format!("{:.1}", ns as f64 / 1000.0)
}

/// A watched process. One that has ended since, or begun, has no figures.
fn process(w: &Watched) -> String {
    let (Some(begin), Some(end), Some(after)) = (w.begin, w.end, w.after) else {
        return format!("{{\"pid\":{},\"gone\":true}}", w.pid);
    };
    format!(
        "{{\"pid\":{},\"gone\":false,\"cpu_s\":{:.3},\"rss_kib\":[{},{},{}],\"peak_kib\":{}}}",
        w.pid,
        end.ticks.saturating_sub(begin.ticks) as f64 / ticks_a_second() as f64,
        begin.rss_kib,
        end.rss_kib,
        after.rss_kib,
        after.peak_kib,
    )
}

fn flood(b: &Bench, line: &Timeline) -> String {
    let [before, during, after] = &line.phases;
    let bins: Vec<String> = line
        .bins
        .iter()
        .map(|n| format!("[{},{},{},{}]", n.sent, n.answered, n.lost, us(n.slowest)))
        .collect();
    format!(
        "\"flood\":{{\"at\":{},\"seconds\":{},\"sent\":{},\"answers\":{},\"before\":{},\"during\":{},\"after\":{},\"line\":[{}]}},",
        b.o.flood_at,
        b.o.flood_seconds,
        b.flood_sent,
        b.batch.flood_answers,
        phase(before),
        phase(during),
        phase(after),
        bins.join(",")
    )
}

fn phase(p: &Phase) -> String {
    let h = &p.latencies;
    format!(
        "{{\"sent\":{},\"answered\":{},\"lost\":{},\"p50\":{},\"p99\":{},\"p99.9\":{},\"max\":{}}}",
        p.sent,
        h.len(),
        p.lost,
        us(h.quantile(0.5)),
        us(h.quantile(0.99)),
        us(h.quantile(0.999)),
        us(h.max())
    )
}
