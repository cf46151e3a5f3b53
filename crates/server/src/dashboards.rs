//! What dashboards show: [`data`] is what blocks show now, [`history`] what they showed, [`live`] what changes while
//! somebody looks.

pub(crate) mod data;
pub(crate) mod history;
pub(crate) mod live;

use motehub_domain::dashboard::Binding;
use motehub_domain::selector::Selector;
use motehub_store::{DeviceQuery, DeviceView};

use crate::api::selectors;
use crate::app::App;
use crate::perform::Failure;

/// Most devices that a block shows.
pub(crate) const DEVICES_MAX: usize = 200;

/// The devices that a block is bound to, by name, and how many they are in all.
pub(crate) async fn bound(
    app: &App,
    of: &Binding,
    limit: usize,
) -> Result<(Vec<DeviceView>, usize), Failure> {
    match of {
        Binding::Device(id) => {
            let views: Vec<DeviceView> = app.store.device_view(*id).await?.into_iter().collect();
            let total = views.len();
            Ok((views, total))
        }
        Binding::Selector(text) => {
            let selector = selectors::put_in(app, &Selector::parse(text)?).await?;
            let query =
                DeviceQuery { selector: Some(selector), now: app.now(), limit, ..DeviceQuery::default() };
            let (views, total) = app.store.devices(query).await?;
            Ok((views, usize::try_from(total).unwrap_or(0)))
        }
    }
}
