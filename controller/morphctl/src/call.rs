//! One verb, one call, one print. The streams are in [`crate::follow`].

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use morph_api::management::{
    AppsRequest, CleanSwitchRequest, CommitRequest, ConfigEntry, ConfigGetRequest,
    ConfigSetRequest, FlowsRequest, HostsRequest, InstallAppRequest, PlannedUpgrade, PortsRequest,
    ReleasesRequest, RemoveAppRequest, RollbackRequest, StartAppRequest, StopAppRequest,
    StoreGetRequest, StoreListReply, StoreListRequest, StoreMigrationsRequest, StoreStatsRequest,
    SwitchesRequest, TopologyRequest, UpgradesRequest, VersionRequest,
    management_client::ManagementClient,
};
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::args::{AppVerb, ConfigVerb, SchemaVerb, StoreVerb, SwitchVerb, Verb};
use crate::argument::{App, Entry, Release};
use crate::doctor;
use crate::events;
use crate::failure::{Effect, Failure};
use crate::follow;
use crate::print::rows::{Installed, Removed, Stopped, Written};
use crate::print::{Output, plain};
use crate::schema;
use crate::store;

/// The way to morphd.
pub(crate) type Client = ManagementClient<Channel>;

/// The rules of a large switch are beyond the 4 MiB that a message may have by default.
const MESSAGE: usize = 256 << 20;
/// Rows of the store that are listed where no limit is named.
const ROWS: u32 = 1000;
/// How long an answer to a look may take.
const ANSWER: Duration = Duration::from_secs(30);
/// How long morphd may be silent in a change or a stream before it is asked whether it lives, and then may take to say so.
const SILENCE: Duration = Duration::from_secs(10);

/// Does what a verb says.
pub(crate) async fn run(
    verb: Verb,
    reached: Result<Channel, Failure>,
    mut out: Output,
) -> Result<(), Failure> {
    let out = &mut out;
    if let Verb::Doctor(what) = &verb {
        return doctor::run(what, reached, out).await;
    }
    if let Verb::Store(StoreVerb::Restore {
        file,
        state_dir,
        store,
    }) = &verb
    {
        let client = reached.ok().map(Client::new);
        return match (store, state_dir) {
            (Some(url), _) => store::restore_on(out, file, url),
            (None, directory) => {
                let directory = directory.clone().unwrap_or_default();
                store::restore(client, out, file, &directory).await
            }
        };
    }
    let client = &mut Client::new(reached?).max_decoding_message_size(MESSAGE);
    match verb {
        // Done already: it needs no morphd.
        Verb::Doctor(_) => Ok(()),
        Verb::Apps => {
            let reply = looked(client.apps(AppsRequest {})).await?;
            out.list("apps", &reply.apps)
        }
        Verb::Releases { app } => {
            let app = or_all(app);
            let reply = looked(client.releases(ReleasesRequest { app })).await?;
            out.list("releases", &reply.releases)
        }
        Verb::App(verb) => run_app(verb, client, out).await,
        Verb::Logs {
            app: App(app),
            tail,
            follow: false,
        } => follow::logs(client, out, app, tail).await,
        Verb::Logs {
            app: App(app),
            tail,
            follow: true,
        } => follow::later_logs(client, out, app, tail).await,
        Verb::Upgrade {
            releases,
            probation,
            confirm_within,
            deadlines,
            allow_loss,
            dry_run,
            no_wait,
        } => {
            let wish = follow::Wish {
                probation,
                confirm_within,
                deadlines,
                allow_loss,
                no_wait,
            };
            match dry_run {
                true => {
                    let request = follow::request(releases, wish);
                    let plan = looked(client.plan(request)).await?;
                    plans(out, &plan.upgrades)
                }
                false => follow::upgrade(client, out, releases, wish).await,
            }
        }
        Verb::Upgrades { app, limit } => {
            let request = UpgradesRequest {
                app: or_all(app),
                limit: limit.unwrap_or(0),
            };
            let reply = looked(client.upgrades(request)).await?;
            out.list("upgrades", &reply.upgrades)
        }
        Verb::Commit { app: App(app) } => {
            let lives = client.clone();
            let reply = changed(&lives, client.commit(CommitRequest { app })).await?;
            follow::committed(out, reply.status)
        }
        Verb::Rollback { app: App(app) } => {
            let lives = client.clone();
            let reply = changed(&lives, client.rollback(RollbackRequest { app })).await?;
            follow::taken_back(out, reply.status)
        }
        Verb::Status { app, follow: true } => follow::statuses(client, out, or_all(app)).await,
        Verb::Status { app, follow: false } => follow::status(client, out, or_all(app)).await,
        Verb::Events(verb) => events::run(verb, client, out).await,
        Verb::Switches => {
            let reply = looked(client.switches(SwitchesRequest {})).await?;
            out.list("switches", &reply.switches)
        }
        Verb::Switch(SwitchVerb::Clean { dpid }) => {
            let lives = client.clone();
            let request = CleanSwitchRequest { dpid };
            let reply = changed(&lives, client.clean_switch(request)).await?;
            out.list("cleaned", &reply.cleaned)
        }
        Verb::Ports { dpid } => {
            let reply = looked(client.ports(PortsRequest { dpid })).await?;
            out.list("ports", &reply.ports)
        }
        Verb::Flows { dpid, app } => {
            let app = or_all(app);
            let reply = looked(client.flows(FlowsRequest { dpid, app })).await?;
            out.list("flows", &reply.flows)
        }
        // Asks nobody, so it is carried out before morphd is looked for.
        Verb::Decode { .. } => Ok(()),
        Verb::Topology => {
            let reply = looked(client.topology(TopologyRequest {})).await?;
            out.list("topology", &reply.links)
        }
        Verb::Hosts => {
            let reply = looked(client.hosts(HostsRequest {})).await?;
            out.list("hosts", &reply.hosts)
        }
        Verb::Config(verb) => run_config(verb, client, out).await,
        Verb::Store(verb) => run_store(verb, client, out).await,
        Verb::Schema(SchemaVerb::Diff { old, new }) => schema::diff(&old, &new, out).await,
    }
}

/// The API's way to say "all" is an empty name.
fn or_all(app: Option<App>) -> String {
    app.map(|App(name)| name).unwrap_or_default()
}

async fn run_app(verb: AppVerb, client: &mut Client, out: &mut Output) -> Result<(), Failure> {
    let lives = client.clone();
    match verb {
        AppVerb::Install { path } => {
            let path = absolute(&path)?;
            let reply = changed(&lives, client.install_app(InstallAppRequest { path })).await?;
            let release = reply.release.ok_or_else(|| incomplete("the release"))?;
            let already = reply.already;
            out.list("releases", &[Installed { release, already }])
        }
        AppVerb::Start {
            release: Release { app, version },
        } => {
            let version = version.map(|v| v.to_string()).unwrap_or_default();
            let request = StartAppRequest { app, version };
            let reply = changed(&lives, client.start_app(request)).await?;
            out.list("apps", &[reply.app.ok_or_else(|| incomplete("the app"))?])
        }
        AppVerb::Stop { name } => {
            let app = name.clone();
            changed(&lives, client.stop_app(StopAppRequest { app })).await?;
            out.list("apps", &[Stopped { name }])
        }
        AppVerb::Remove { name, keep_rules } => {
            let app = name.clone();
            let request = RemoveAppRequest { app, keep_rules };
            let reply = changed(&lives, client.remove_app(request)).await?;
            let switches = reply.switches;
            out.list("apps", &[Removed { name, switches }])
        }
    }
}

async fn run_config(
    verb: ConfigVerb,
    client: &mut Client,
    out: &mut Output,
) -> Result<(), Failure> {
    match verb {
        ConfigVerb::Get { app: App(app), key } => {
            let request = ConfigGetRequest { app: app.clone() };
            let mut entries = looked(client.config_get(request)).await?.entries;
            if let Some(key) = &key {
                entries.retain(|entry| selects(key, &entry.key));
                if entries.is_empty() && key.contains('.') {
                    let said = format!("{app} has no configuration entry {}", plain(key));
                    return Err(Failure::Refused(said));
                }
            }
            out.list("config", &entries)
        }
        ConfigVerb::Set {
            app: App(app),
            entries,
        } => {
            let lives = client.clone();
            let api = |Entry { key, value }| ConfigEntry { key, value };
            let entries: Vec<ConfigEntry> = entries.into_iter().map(api).collect();
            let request = ConfigSetRequest {
                app,
                entries: entries.clone(),
            };
            let revision = changed(&lives, client.config_set(request)).await?.revision;
            let written: Vec<Written> = entries
                .into_iter()
                .map(|entry| Written { entry, revision })
                .collect();
            out.list("config", &written)
        }
    }
}

/// What would be done; refused where any of it would be.
fn plans(out: &mut Output, plans: &[PlannedUpgrade]) -> Result<(), Failure> {
    out.list("plan", plans)?;
    let refused: Vec<&str> = plans
        .iter()
        .map(|plan| plan.refused.as_str())
        .filter(|why| !why.is_empty())
        .collect();
    match refused.is_empty() {
        true => Ok(()),
        false => Err(Failure::Refused(plain(&refused.join("; ")).into_owned())),
    }
}

/// Whether `TABLE` or `TABLE.KEY` means the entry of this key.
fn selects(wanted: &str, key: &str) -> bool {
    key == wanted
        || key
            .split_once('.')
            .is_some_and(|(table, _)| table == wanted)
}

async fn run_store(verb: StoreVerb, client: &mut Client, out: &mut Output) -> Result<(), Failure> {
    match verb {
        StoreVerb::Get {
            app: App(app),
            table,
            key,
        } => {
            let request = StoreGetRequest { app, table, key };
            let reply = looked(client.store_get(request)).await?;
            out.list("store", &[reply.row.ok_or_else(|| incomplete("the row"))?])
        }
        StoreVerb::List {
            app,
            table,
            prefix,
            limit,
        } => {
            let all = app.is_none();
            let request = StoreListRequest {
                app: or_all(app),
                table: table.unwrap_or_default(),
                prefix: prefix.unwrap_or_default(),
                limit: limit.unwrap_or(ROWS),
                ..StoreListRequest::default()
            };
            let reply = rows(client, request).await?;
            if all {
                return out.list("store", &reply.keyspaces);
            }
            out.part("store", &reply.rows, reply.more)
        }
        StoreVerb::Migrations { app } => {
            let app = or_all(app);
            let reply = looked(client.store_migrations(StoreMigrationsRequest { app })).await?;
            out.list("migrations", &reply.migrations)
        }
        StoreVerb::Stats => {
            let reply = looked(client.store_stats(StoreStatsRequest {})).await?;
            out.list(
                "stats",
                &[reply.stats.ok_or_else(|| incomplete("the figures"))?],
            )
        }
        StoreVerb::Watch { app, table } => store::watch(client, out, app, table).await,
        StoreVerb::Backup { file } => store::backup(client, out, file).await,
        // Done already: it needs no morphd.
        StoreVerb::Restore { .. } => Ok(()),
        StoreVerb::Check => store::check(client, out).await,
    }
}

/// As many rows as the request's limit says, page by page: an answer is bounded in size.
async fn rows(
    client: &mut Client,
    mut request: StoreListRequest,
) -> Result<StoreListReply, Failure> {
    let limit = request.limit as usize;
    let mut whole = looked(client.store_list(request.clone())).await?;
    while whole.more && whole.rows.len() < limit {
        let Some(last) = whole.rows.last() else {
            break;
        };
        request.after_table.clone_from(&last.table);
        request.after_key.clone_from(&last.key);
        // Not above `limit`, which is 32 bits.
        request.limit = (limit - whole.rows.len()) as u32;
        let page = looked(client.store_list(request.clone())).await?;
        whole.more = page.more && !page.rows.is_empty();
        whole.rows.extend(page.rows);
    }
    Ok(whole)
}

/// A path for morphd, whose working directory is another.
fn absolute(path: &Path) -> Result<String, Failure> {
    let wrong = |why: &str| Failure::Usage(format!("{}: {why}", path.display()));
    let absolute = std::path::absolute(path).map_err(|error| wrong(&error.to_string()))?;
    let text = absolute.to_str();
    Ok(text.ok_or_else(|| wrong("not UTF-8"))?.to_owned())
}

/// An answer without the part that it is for.
pub(crate) fn incomplete(what: &str) -> Failure {
    Failure::Unknown(format!("morphd's answer lacks {what}"))
}

/// The answer to a call that only looks.
pub(crate) async fn looked<T>(
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(ANSWER, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(Failure::of_status(&status, Effect::Reads)),
        Err(_) => {
            let why = format!("no answer from morphd within {} s", ANSWER.as_secs());
            Err(Failure::Unreachable(why))
        }
    }
}

/// The answer to a call that changes something. Ctrl-C and silence leave the outcome open.
pub(crate) async fn changed<T>(
    client: &Client,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Failure> {
    match waited(client, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(Failure::of_status(&status, Effect::Changes)),
        Err(gone) => Err(Failure::lost(gone.why(), Effect::Changes)),
    }
}

/// Why a wait ended without what was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gone {
    /// Ctrl-C.
    Interrupted,
    /// morphd neither answers nor says that it lives.
    Silent,
}

impl Gone {
    /// For people.
    pub(crate) fn why(self) -> &'static str {
        match self {
            Gone::Interrupted => "interrupted",
            Gone::Silent => "morphd is silent",
        }
    }
}

/// Waits for something that may take long, as long as morphd lives and nobody presses Ctrl-C.
pub(crate) async fn waited<T>(client: &Client, what: impl Future<Output = T>) -> Result<T, Gone> {
    let lives = || {
        let mut client = client.clone();
        async move {
            match client.version(VersionRequest {}).await {
                Ok(_) => true,
                // A broken transport ends what is waited for too, and that says more; any other refusal is a sign of life.
                Err(status) => std::error::Error::source(&status).is_none(),
            }
        }
    };
    waited_while(SILENCE, lives, what).await
}

async fn waited_while<T, L: Future<Output = bool>>(
    silence: Duration,
    lives: impl Fn() -> L,
    what: impl Future<Output = T>,
) -> Result<T, Gone> {
    let mut what = std::pin::pin!(what);
    loop {
        let asked = async {
            tokio::time::sleep(silence).await;
            tokio::time::timeout(silence, lives()).await == Ok(true)
        };
        tokio::select! {
            biased;
            done = &mut what => return Ok(done),
            Ok(()) = tokio::signal::ctrl_c() => return Err(Gone::Interrupted),
            lives = asked => {
                if !lives {
                    return Err(Gone::Silent);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait<T>(lives: bool, what: impl Future<Output = T>) -> Result<T, Gone> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(waited_while(
                Duration::from_millis(1),
                || std::future::ready(lives),
                what,
            ))
    }

    #[test]
    fn a_wait_lasts_as_long_as_morphd_lives() {
        let slow = async { tokio::time::sleep(Duration::from_millis(20)).await };
        assert_eq!(wait(true, slow), Ok(()));
        assert_eq!(wait(false, std::future::pending::<()>()), Err(Gone::Silent));
    }

    #[test]
    fn a_table_selects_its_keys() {
        assert!(selects("weights", "weights.1/2"));
        assert!(selects("weights.1/2", "weights.1/2"));
        assert!(!selects("weight", "weights.1/2"));
        assert!(!selects("weights.1", "weights.1/2"));
    }
}
