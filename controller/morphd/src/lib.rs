//! morphd, the supervisor: it owns releases, instances and upgrades, and serves the management API. No packet passes
//! through it, and nothing that it started dies with it.
//!
//! | module | what stands there |
//! |---|---|
//! | [`config`] | flags, file, defaults |
//! | [`lock`], [`process`], [`log`], [`children`], [`precedence`] | processes that outlive their parent, as whom they run, and who first |
//! | [`bundle`], [`release`] | releases: on disk by digest, and which fit together |
//! | [`records`], [`proxy`] | apps, releases and upgrades in the store; calls to the proxy |
//! | [`app`], [`upgrade`], [`restarts`], [`pulse`], [`answers`] | the machines: no clock, no async |
//! | [`supervisor`] | the driver |
//! | [`management`] | the API for people and programs |
//! | [`metrics`], [`counts`] | figures for Prometheus |

pub mod answers;
pub mod app;
pub mod boot;
pub mod bundle;
pub mod children;
pub mod config;
pub mod counts;
pub mod lock;
pub mod log;
pub mod management;
pub mod metrics;
pub mod precedence;
pub mod process;
pub mod proxy;
pub mod pulse;
pub mod realtime;
pub mod records;
pub mod release;
pub mod restarts;
pub mod supervisor;
pub mod suspicion;
pub mod upgrade;
