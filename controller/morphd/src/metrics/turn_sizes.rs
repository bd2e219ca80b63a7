//! Histogram of the events that turns answered.

use morph_api::supervisor::Slot;

use super::page::Page;

/// Adds the histogram. The proxy counts by powers of two, and all large turns in its last bucket.
pub(super) fn add(page: &mut Page, slots: &[Slot]) {
    let name = "morpheus_turn_events";
    page.family(
        name,
        "histogram",
        "Events that a turn answered, since the proxy's start.",
    );
    for slot in slots {
        let app = slot.app.as_str();
        let sizes = slot.turn_sizes.clone().unwrap_or_default();
        let (bucket, mut below) = (format!("{name}_bucket"), 0);
        let bounded = sizes.buckets.split_last().map_or(&[][..], |(_, rest)| rest);
        for (power, count) in (1..).zip(bounded) {
            below += count;
            let bound = ((1_u64 << power) - 1).to_string();
            page.sample(&bucket, &[("app", app), ("le", &bound)], below);
        }
        let all: u64 = sizes.buckets.iter().sum();
        page.sample(&bucket, &[("app", app), ("le", "+Inf")], all);
        page.sample(&format!("{name}_sum"), &[("app", app)], sizes.events);
        page.sample(&format!("{name}_count"), &[("app", app)], all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use morph_api::supervisor::TurnSizes;

    #[test]
    fn buckets_add_up() {
        let sizes = TurnSizes {
            buckets: vec![5, 0, 2, 1],
            events: 30,
        };
        let slot = Slot {
            app: "a".into(),
            turn_sizes: Some(sizes),
            ..Slot::default()
        };
        let mut page = Page::default();
        add(&mut page, &[slot]);
        let text = page.text();
        let samples: Vec<&str> = text.lines().skip(2).collect();
        let wanted = [
            "morpheus_turn_events_bucket{app=\"a\",le=\"1\"} 5",
            "morpheus_turn_events_bucket{app=\"a\",le=\"3\"} 5",
            "morpheus_turn_events_bucket{app=\"a\",le=\"7\"} 7",
            "morpheus_turn_events_bucket{app=\"a\",le=\"+Inf\"} 8",
            "morpheus_turn_events_sum{app=\"a\"} 30",
            "morpheus_turn_events_count{app=\"a\"} 8",
        ];
        assert_eq!(samples, wanted);
    }
}
