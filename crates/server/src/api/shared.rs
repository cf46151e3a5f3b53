//! A device as a customer sees it: what it is called, whether it is there and what it does. What is the vendor's
//! is left out.

use std::collections::HashMap;

use motehub_domain::device::Reach;
use motehub_domain::id::UserId;
use motehub_domain::shadow::Shadow;
use motehub_domain::share::{Right, Share};
use motehub_store::DeviceView;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::devices::{DeviceDto, DeviceList};
use super::extract::rfc3339;
use super::problem::ApiError;
use crate::app::App;

/// What a customer may do with a device; each includes the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Right)]
pub(crate) enum RightName {
    /// See it and what it measured.
    View,
    /// Also change its desired state.
    Control,
    /// Also share it, and give it back.
    Owner,
}

impl From<Right> for RightName {
    fn from(right: Right) -> Self {
        match right {
            Right::View => Self::View,
            Right::Control => Self::Control,
            Right::Owner => Self::Owner,
        }
    }
}

/// What is wanted of a device and what it says.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct SharedShadow {
    /// What people want.
    #[schema(value_type = Object)]
    desired: Map<String, Value>,
    /// What the device says.
    #[schema(value_type = Object)]
    reported: Map<String, Value>,
    /// One more with every update.
    version: i64,
}

impl From<Shadow> for SharedShadow {
    fn from(shadow: Shadow) -> Self {
        let Shadow { desired, reported, version, .. } = shadow;
        Self { desired: desired.values, reported: reported.values, version }
    }
}

/// A device that is shared with the customer who asks.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct SharedDevice {
    /// Its id.
    id: String,
    /// What the customer calls it; else what the vendor does.
    name: String,
    /// Whether the vendor may see the customer's name for it.
    name_shown: bool,
    /// What the customer may do with it.
    right: RightName,
    /// When the share ends by itself.
    until: Option<String>,
    /// Who shared it.
    shared_by: String,
    /// Whether it has a live connection.
    online: bool,
    /// When it was last heard.
    last_seen: Option<String>,
    /// What it says it is.
    model: Option<String>,
    /// The version of its firmware, as it says.
    firmware: Option<String>,
    /// What is wanted of it and what it says; null if there is nothing yet.
    shadow: Option<SharedShadow>,
}

/// The devices that are shared with the customer who asks.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SharedDeviceList {
    items: Vec<SharedDevice>,
    /// How many there are in all.
    total: i64,
}

/// A device: what the vendor sees, or what a customer sees.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum DeviceAsSeen {
    /// By the vendor's people and programs.
    Staff(Box<DeviceDto>),
    /// By a customer.
    Customer(Box<SharedDevice>),
}

/// Devices: what the vendor sees, or what a customer sees.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum DevicesAsSeen {
    /// By the vendor's people and programs.
    Staff(DeviceList),
    /// By a customer.
    Customer(SharedDeviceList),
}

impl SharedDevice {
    /// The device of a share.
    pub(crate) async fn load(app: &App, share: Share) -> Result<Self, ApiError> {
        let view = app.store.device_view(share.device).await?;
        let view = view.ok_or_else(|| ApiError::not_found("device", share.device))?;
        Self::new(app, view, share).await
    }

    async fn new(app: &App, view: DeviceView, share: Share) -> Result<Self, ApiError> {
        let report = app.store.report(share.device).await?.map(|report| report.announcement);
        let (model, firmware) = report.map_or((None, None), |said| (said.model, said.version));
        let shadow = app.store.shadow(share.device, None).await?.filter(Shadow::exists);
        Ok(Self {
            id: share.device.to_string(),
            name: share.name.unwrap_or(view.device.name),
            name_shown: share.name_shown,
            right: share.right.into(),
            until: share.until.map(rfc3339),
            shared_by: share.created_by,
            online: view.presence.as_ref().is_some_and(|presence| presence.reach == Reach::Online),
            last_seen: view.presence.map(|presence| rfc3339(presence.seen_at)),
            model,
            firmware,
            shadow: shadow.map(SharedShadow::from),
        })
    }
}

impl SharedDeviceList {
    /// Of devices that a customer sees, and how many there are in all. A share that ended this moment takes its
    /// device with it.
    pub(crate) async fn new(
        app: &App,
        user: UserId,
        views: Vec<DeviceView>,
        total: i64,
    ) -> Result<Self, ApiError> {
        let shares = app.store.shares_with(user, app.now()).await?;
        let mut shares: HashMap<_, _> = shares.into_iter().map(|share| (share.device, share)).collect();
        let mut items = Vec::with_capacity(views.len());
        for view in views {
            if let Some(share) = shares.remove(&view.device.id) {
                items.push(SharedDevice::new(app, view, share).await?);
            }
        }
        Ok(Self { items, total })
    }
}
