//! What a node does before it lets anybody in, so that what is stored is true: it depends on whether it is the first.

use motehub_domain::artifact::Digest;
use motehub_domain::effects::{Effects, Save};
use motehub_domain::time::Time;
use motehub_store::{Store, StoreError};

use crate::cluster::Cluster;
use crate::rules::Rules;

/// Where the set-up codes of nodes are, as digests with the time of their end.
const SETUP: &str = "setup/";

/// Where no other node lives nobody is connected, no upload goes on, and rules were told nothing meanwhile.
pub(super) async fn first(store: &Store, cluster: &Cluster, now: Time) -> Result<Rules, StoreError> {
    if !cluster.others().is_empty() {
        return Ok(Rules::join(now));
    }
    // One that was seen a moment ago may only be slow. Its devices are counted as gone later if it does not come back.
    if !cluster.was_another_there(store, now).await? {
        store.all_offline(now).await?;
        let swept = store.sweep_artifacts().await?;
        if swept > 0 {
            tracing::info!(artifacts = swept, "bytes whose upload did not come to an end were removed");
        }
    }
    Rules::start(store, now).await
}

/// The one-time code of one node serves at every node.
pub(super) async fn keep_setup(
    store: &Store,
    cluster: &Cluster,
    setup: Option<(Digest, Time)>,
) -> Result<(), StoreError> {
    if cluster.is_alone() {
        return Ok(());
    }
    let note = setup.map(|(digest, until)| format!("{digest} {}", until.0).into_bytes());
    let save = vec![Save::Note(format!("{SETUP}{}", cluster.node()), note)];
    store.commit(&Effects { save, ..Effects::none() }, Time(0)).await.map(drop)
}

/// Whether a code is one of another node.
pub(crate) async fn is_setup_code(store: &Store, code: Digest, now: Time) -> Result<bool, StoreError> {
    let notes = store.notes(SETUP).await?;
    Ok(notes.iter().any(|(_, body)| {
        let text = String::from_utf8_lossy(body);
        let (digest, until) = text.split_once(' ').unwrap_or_default();
        digest == code.to_string() && until.parse().is_ok_and(|until| now < Time(until))
    }))
}
