//! morphd, the supervisor: it owns releases, instances and upgrades, and serves the management API. No packet passes
//! through it, and nothing that it started dies with it.
//!
//! | module | content |
//! |---|---|
//! | [`config`] | flags, file, defaults |
//! | [`process`], [`children`], [`priority`], [`realtime`], [`log`] | child processes that outlive morphd: their users, priority and logs |
//! | [`bundle`], [`launch`], [`release`] | releases: their files, how they are run, and which of them may run together |
//! | [`machine`] | all decisions, without clock, process, store or proxy |
//! | [`supervisor`] | the driver: feeds the machine and carries out what it asks for |
//! | [`records`], [`proxy`] | records in the store; calls to the proxy |
//! | [`management`] | management API |
//! | [`alarms`] | conditions that last, of apps and of Morpheus itself |
//! | [`metrics`], [`counts`] | metrics for Prometheus |

pub mod alarms;
pub mod boot;
pub mod bundle;
pub mod children;
pub mod config;
pub mod counts;
pub mod launch;
pub mod log;
pub mod machine;
pub mod management;
pub mod metrics;
pub mod priority;
pub mod process;
pub mod proxy;
pub mod realtime;
pub mod records;
pub mod release;
pub mod supervisor;
