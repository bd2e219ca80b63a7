//! morph-proxy, the mediator between switches and app instances.
mod channel;
mod dispatch;
mod mediator;
mod pipeline;
mod slot;
mod turn;
mod wire;
