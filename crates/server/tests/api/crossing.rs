//! Two nodes that are one hub: what of one lives in its memory is right at the other too.

mod caches;
mod connections;
mod devices;
mod feed;
pub(crate) mod nodes;
mod pusher;
