//! The settings of the listeners for the Pusher protocol.

use motehub_server::Pusher;

use super::{address, origin};

/// Where the Pusher protocol is spoken.
#[derive(clap::Args, Default)]
pub(crate) struct PusherOptions {
    /// Where the Pusher protocol is spoken, for web pages, programs and original IoT bases; off without it
    #[arg(long, value_name = "ADDR", env = "MOTEHUB_PUSHER")]
    pub(crate) pusher: Option<String>,
    /// Where the same is spoken over TLS, such as 0.0.0.0:443 for an original base; off without it
    #[arg(long, value_name = "ADDR", env = "MOTEHUB_PUSHER_TLS")]
    pub(crate) pusher_tls: Option<String>,
    /// A page whose visitors may use their login at --pusher, such as http://hub:8080; repeatable
    #[arg(long, value_name = "ORIGIN", env = "MOTEHUB_PUSHER_ORIGIN", value_delimiter = ',')]
    pub(crate) pusher_origin: Vec<String>,
}

/// Checks the settings; those of the file count where nothing else is said.
pub(super) fn settings(options: PusherOptions, file: PusherOptions) -> anyhow::Result<Pusher> {
    let bound = |name: &str, text: Option<String>| text.map(|text| address(name, &text)).transpose();
    let origins = if options.pusher_origin.is_empty() { file.pusher_origin } else { options.pusher_origin };
    Ok(Pusher {
        address: bound("pusher", options.pusher.or(file.pusher))?,
        tls: bound("pusher-tls", options.pusher_tls.or(file.pusher_tls))?,
        origins: origins.iter().map(|text| origin("pusher-origin", text)).collect::<Result<_, _>>()?,
    })
}
