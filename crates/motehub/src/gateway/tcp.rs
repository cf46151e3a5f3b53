//! `motehub gateway tcp`: units in the network of this machine, for a hub elsewhere. It takes the place of a base.

use std::sync::Arc;

use anyhow::Context;
use motehub_gateway::link::Order;
use motehub_gateway::units::Units;
use motehub_server::Clock;
use tokio::net::TcpListener;

use super::{LinkOptions, Linked, announce, linked};
use crate::serve::units::{UnitOptions, settings};

/// Where units are.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  motehub gateway tcp --key cellar.join\n  \
    motehub ctl device add lamp --dialect line --address 192.168.1.20:8888 --set through=GATEWAY\n\n\
    The hub says which units there are: those whose setting `through` is the id of this gateway.\n\
    When everything is bound, one line of JSON on the standard output says so, with the address.")]
pub(crate) struct TcpOptions {
    #[command(flatten)]
    link: LinkOptions,
    #[command(flatten)]
    units: UnitOptions,
}

pub(super) async fn serve(options: TcpOptions) -> anyhow::Result<()> {
    let units = settings(options.units, UnitOptions::default())?;
    let Linked { hub, mut ends, shutdown } = linked(options.link, "tcp").await?;
    let listener = match units.listen {
        Some(address) => {
            let bound = TcpListener::bind(address).await;
            Some(bound.with_context(|| format!("line-listen: {address} cannot be bound"))?)
        }
        None => None,
    };
    let units = Units::new(Arc::new(hub.clone()), units.networks, Arc::new(|| Clock::System.now()));
    units.dial(Arc::new(hub.clone()));
    // What the hub said last: it may be away.
    units.know_all(hub.kept_units().await);
    announce([("line", listener.as_ref().and_then(|listener| listener.local_addr().ok()))]);
    let mut orders = ends.take_orders();
    let link = tokio::spawn(hub.clone().run(ends, shutdown.clone()));
    let reached = units.clone();
    tokio::spawn(async move {
        while let Some(order) = orders.recv().await {
            if let Order::Units(all) = order {
                hub.keep_units(&all).await;
                reached.know_all(all);
            }
        }
    });
    if let Some(listener) = listener {
        tokio::spawn(units.clone().listen(listener, shutdown.clone()));
    }
    units.run(shutdown).await;
    link.await?;
    Ok(())
}
