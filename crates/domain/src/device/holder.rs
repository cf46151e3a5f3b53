//! Which node of the hub has a device's connections, when several nodes are one hub.
//!
//! The last node that a device came to holds it. A counter grows whenever that changes: it is the fence that keeps a
//! node from writing that a device went which another node has taken over meanwhile.

use crate::effects::{Effects, Save};
use crate::id::DeviceId;

/// Who holds a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Which device.
    pub device: DeviceId,
    /// The name of the node; `None` when the device went.
    pub node: Option<String>,
    /// One more whenever another node has the device, or none.
    pub fence: i64,
}

/// A node holds a device from now on. Nothing is to be written if it does already.
pub fn held(device: DeviceId, was: Option<&Holder>, node: &str) -> Effects {
    match was {
        Some(was) if was.node.as_deref() == Some(node) => Effects::none(),
        was => moved(device, was, Some(node.to_owned())),
    }
}

/// A device went from a node. `None` if another node holds it: then it did not go.
pub fn given_up(device: DeviceId, was: Option<&Holder>, node: &str) -> Option<Effects> {
    match was.and_then(|was| was.node.as_deref()) {
        Some(holder) if holder != node => None,
        Some(_) => Some(moved(device, was, None)),
        None => Some(Effects::none()),
    }
}

fn moved(device: DeviceId, was: Option<&Holder>, node: Option<String>) -> Effects {
    let fence = was.map_or(0, |was| was.fence) + 1;
    Effects { save: vec![Save::Holder(Holder { device, node, fence })], ..Effects::none() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_lost_a_device_to_another_node_has_nothing_to_say_of_it() {
        let device = DeviceId::from_parts(1, 1);
        let holder = |node: Option<&str>, fence| Holder { device, node: node.map(str::to_owned), fence };
        let written = |effects: Effects| match effects.save.as_slice() {
            [Save::Holder(holder)] => Some(holder.clone()),
            _ => None,
        };
        let at_a = holder(Some("a"), 1);
        assert_eq!(written(held(device, None, "a")), Some(at_a.clone()));
        assert_eq!(held(device, Some(&at_a), "a"), Effects::none(), "it comes again");
        let at_b = holder(Some("b"), 2);
        assert_eq!(written(held(device, Some(&at_a), "b")), Some(at_b.clone()), "taken over");
        assert_eq!(given_up(device, Some(&at_b), "a"), None, "the old connection ends");
        assert_eq!(given_up(device, Some(&at_b), "b").and_then(written), Some(holder(None, 3)));
        assert_eq!(given_up(device, Some(&holder(None, 3)), "b"), Some(Effects::none()), "it went already");
        assert_eq!(written(held(device, Some(&holder(None, 3)), "a")), Some(holder(Some("a"), 4)));
    }
}
