//! Knocks: unknown devices that asked to be let in. The inbox keeps them until a person accepts, refuses or
//! ignores them.
//!
//! Strangers write here, so everything has a bound: how many knocks are kept, how many new ones an address may
//! add, how long what they said may be. The inbox never holds a secret. It lives in memory and says what of it
//! is to be written; what a crash loses is said again, since boards knock again.

mod said;

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use crate::artifact::Digest;
use crate::change::{Actor, Change, ChangeKind};
use crate::device::{self, Device, Dialect, Registration};
use crate::effects::{Effects, Save};
use crate::id::{DeviceId, KnockId};
use crate::network::Network;
use crate::rejection::Rejection;
use crate::time::{Span, Time};

pub use said::{SAID_CHARS_MAX, Said, Via};

/// Most knocks that are new or ignored; the one that was silent for longest goes first.
pub const KNOCKS_MAX: usize = 1_000;
/// Most of them from one address, so that one address cannot push out all others.
pub const KNOCKS_PER_ADDRESS_MAX: usize = 500;
/// Most refused ones; the one that was silent for longest is forgotten first.
pub const REFUSED_MAX: usize = 10_000;
/// How many names one address may add within [`NEW_EVERY`]; further ones are counted and not listed.
pub const NEW_PER_ADDRESS_MAX: u32 = 100;
/// How many names all addresses together may add within [`NEW_EVERY`].
pub const NEW_MAX: u32 = 2_000;
/// The span of [`NEW_PER_ADDRESS_MAX`] and [`NEW_MAX`].
pub const NEW_EVERY: Span = Span::minutes(1);
/// For how many addresses it is remembered how much they added lately.
const ADDRESSES_MAX: usize = 10_000;

/// What a person decided about a knock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing yet.
    New,
    /// Hidden until it says something else.
    Ignored,
    /// Denied from then on, and not listed again.
    Refused,
}

impl Standing {
    /// Every standing.
    pub const ALL: [Standing; 3] = [Standing::New, Standing::Ignored, Standing::Refused];

    /// The name in the API and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Ignored => "ignored",
            Self::Refused => "refused",
        }
    }
    /// By its name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|standing| standing.as_str() == text)
    }
}

/// Somebody unknown who asked to be let in, once or often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Knock {
    /// Its id.
    pub id: KnockId,
    /// What it said last.
    pub said: Said,
    /// How often it came.
    pub count: i64,
    /// When it came first.
    pub first_at: Time,
    /// When it came last.
    pub last_at: Time,
    /// What was decided.
    pub standing: Standing,
}

/// What a person says to accept a knock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acceptance {
    /// What the device is registered as.
    pub registration: Registration,
    /// Whether it may go on without a credential: only for firmware that cannot be given one over the air. A RIOT node
    /// or an ESP-FIRMWARE board may do so from the address that it came from.
    pub without_credential: bool,
}

/// Registers who knocked.
pub fn accept(
    id: DeviceId,
    knock: &Knock,
    wanted: &Acceptance,
    credential: Digest,
    actor: &Actor,
    now: Time,
) -> Result<(Device, Effects), Rejection> {
    if wanted.without_credential && !wanted.registration.dialect.may_be_open() {
        return Err(Rejection::invalid(
            "without_credential",
            "only devices of the dialects nodemcu, riot and esp-firmware may be let in without a credential",
        ));
    }
    let (mut device, mut effects) = device::register(id, &wanted.registration, credential, actor, now)?;
    device.unauthenticated_allowed = wanted.without_credential;
    if wanted.without_credential && device.dialect.is_known_by_address() {
        device.allowed_from = Some(Network::parse("address", &knock.said.address)?);
    }
    for save in &mut effects.save {
        if let Save::Device(saved) = save {
            **saved = device.clone();
        }
    }
    for change in &mut effects.changes {
        if let Some(after) = &mut change.after {
            after["unauthenticated_allowed"] = json!(wanted.without_credential);
            after["allowed_from"] = json!(device.allowed_from.map(|network| network.to_string()));
            after["knocked_from"] = json!(knock.said.address);
        }
    }
    effects.save.push(Save::DropKnock(knock.id));
    Ok((device, effects))
}

/// Refuses or ignores a knock, or makes it new again.
pub fn decide(knock: &Knock, standing: Standing, actor: &Actor) -> Effects {
    if knock.standing == standing {
        return Effects::none();
    }
    let kind = match standing {
        Standing::New => ChangeKind::KnockReturned,
        Standing::Ignored => ChangeKind::KnockIgnored,
        Standing::Refused => ChangeKind::KnockRefused,
    };
    let after = json!({ "state": standing.as_str(), "address": knock.said.address });
    let changes = vec![fact(kind, knock, Some(after), actor)];
    let decided = Knock { standing, ..knock.clone() };
    Effects { save: vec![Save::Knock(Box::new(decided))], changes, ..Effects::none() }
}

/// Forgets a knock: it is listed as new when it knocks again.
pub fn delete(knock: &Knock, actor: &Actor) -> Effects {
    let changes = vec![fact(ChangeKind::KnockDeleted, knock, None, actor)];
    Effects { save: vec![Save::DropKnock(knock.id)], changes, ..Effects::none() }
}

fn fact(kind: ChangeKind, knock: &Knock, after: Option<Value>, actor: &Actor) -> Change {
    Change {
        actor: actor.clone(),
        kind,
        subject: knock.id.to_string(),
        subject_name: knock.said.name.clone(),
        device: None,
        before: Some(json!({ "state": knock.standing.as_str() })),
        after,
    }
}

/// What a knock did to the inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It is listed now, and was not before.
    Listed,
    /// It was known; its count and time moved.
    Again,
    /// Its address added too many lately: it is not kept.
    Limited,
}

/// All knocks, by what they call themselves.
#[derive(Debug)]
pub struct Inbox {
    knocks: HashMap<KnockId, Knock>,
    names: HashMap<(Dialect, String), KnockId>,
    added: HashMap<String, (Time, u32)>,
    added_by_all: (Time, u32),
    unsaved: HashSet<KnockId>,
    gone: Vec<KnockId>,
}

impl Default for Inbox {
    fn default() -> Self {
        Self::restored(Vec::new())
    }
}

impl Inbox {
    /// The inbox as it was written.
    pub fn restored(knocks: Vec<Knock>) -> Self {
        let names = knocks.iter().map(|knock| (key(&knock.said), knock.id)).collect();
        let knocks = knocks.into_iter().map(|knock| (knock.id, knock)).collect();
        let (added, unsaved, gone) = Default::default();
        Self { knocks, names, added, added_by_all: (Time(0), 0), unsaved, gone }
    }

    /// Takes over what another node with the same inbox has written since. What is known here and not written yet
    /// stays, but what a person decided counts.
    pub fn refresh(&mut self, written: Vec<Knock>) {
        let mut before = std::mem::take(&mut self.knocks);
        before.retain(|id, _| self.unsaved.contains(id));
        for mut knock in written {
            if self.gone.contains(&knock.id) {
                continue;
            }
            if let Some(own) = before.remove(&knock.id) {
                let is_back = knock.standing == Standing::Ignored && own.said != knock.said;
                let standing = if is_back { Standing::New } else { knock.standing };
                let count = own.count.max(knock.count);
                knock = Knock { standing, count, last_at: own.last_at.max(knock.last_at), ..own };
            }
            self.knocks.insert(knock.id, knock);
        }
        self.knocks.extend(before);
        self.names = self.knocks.values().map(|knock| (key(&knock.said), knock.id)).collect();
    }

    /// Whether somebody of that name is kept already.
    pub fn knows(&self, said: &Said) -> bool {
        self.names.contains_key(&key(said))
    }

    /// Somebody knocked. `id` is for one who is not known yet: the same for the same name, at whichever node.
    pub fn heard(&mut self, id: KnockId, said: Said, now: Time) -> Heard {
        if let Some(knock) = self.names.get(&key(&said)).and_then(|id| self.knocks.get_mut(id)) {
            let is_different = knock.said != said;
            let is_back = knock.standing == Standing::Ignored && is_different;
            knock.count += 1;
            knock.last_at = now;
            knock.said = said;
            if is_back {
                knock.standing = Standing::New;
            }
            self.unsaved.insert(knock.id);
            return if is_back { Heard::Listed } else { Heard::Again };
        }
        if !self.may_add(&said.address, now) {
            return Heard::Limited;
        }
        let from_there = |knock: &Knock| knock.said.address == said.address;
        if self.open().filter(|knock| from_there(knock)).count() >= KNOCKS_PER_ADDRESS_MAX {
            self.drop_oldest(|knock| knock.standing != Standing::Refused && from_there(knock));
        } else if self.open().count() >= KNOCKS_MAX {
            self.drop_oldest(|knock| knock.standing != Standing::Refused);
        }
        self.names.insert(key(&said), id);
        let knock = Knock { id, said, count: 1, first_at: now, last_at: now, standing: Standing::New };
        self.knocks.insert(id, knock);
        self.unsaved.insert(id);
        self.gone.retain(|gone| *gone != id);
        Heard::Listed
    }

    fn may_add(&mut self, address: &str, now: Time) -> bool {
        if self.added.len() >= ADDRESSES_MAX && !self.added.contains_key(address) {
            self.added.retain(|_, (since, _)| now - *since < NEW_EVERY);
            if self.added.len() >= ADDRESSES_MAX {
                return false;
            }
        }
        let by_address = self.added.entry(address.to_owned()).or_insert((now, 0));
        counted(by_address, now) <= NEW_PER_ADDRESS_MAX && counted(&mut self.added_by_all, now) <= NEW_MAX
    }

    fn open(&self) -> impl Iterator<Item = &Knock> {
        self.knocks.values().filter(|knock| knock.standing != Standing::Refused)
    }

    fn drop_oldest(&mut self, among: impl Fn(&Knock) -> bool) {
        let oldest = self.knocks.values().filter(|knock| among(knock)).min_by_key(|k| (k.last_at, k.id));
        if let Some(id) = oldest.map(|knock| knock.id) {
            self.forget(id);
        }
    }

    /// A knock by its id.
    pub fn get(&self, id: KnockId) -> Option<&Knock> {
        self.knocks.get(&id)
    }

    /// Those of one standing, the last heard first.
    pub fn list(&self, standing: Standing) -> Vec<&Knock> {
        let mut list: Vec<&Knock> = self.knocks.values().filter(|knock| knock.standing == standing).collect();
        list.sort_by_key(|knock| (std::cmp::Reverse(knock.last_at), knock.id));
        list
    }

    /// How many wait for a decision.
    pub fn waiting(&self) -> usize {
        self.knocks.values().filter(|knock| knock.standing == Standing::New).count()
    }

    /// A person decided, and that is on disk.
    pub fn decided(&mut self, id: KnockId, standing: Standing) {
        let Some(knock) = self.knocks.get_mut(&id) else { return };
        knock.standing = standing;
        let refused = self.knocks.values().filter(|knock| knock.standing == Standing::Refused).count();
        if refused > REFUSED_MAX {
            self.drop_oldest(|knock| knock.standing == Standing::Refused && knock.id != id);
        }
    }

    /// Forgets a knock; it is listed again when it knocks again.
    pub fn forget(&mut self, id: KnockId) {
        if let Some(knock) = self.knocks.remove(&id) {
            self.names.remove(&key(&knock.said));
            self.unsaved.remove(&id);
            self.gone.push(id);
        }
    }

    /// A device of that name is registered now: it is no stranger any more.
    pub fn registered(&mut self, device: &Device) {
        let Some(name) = &device.external_id else { return };
        if let Some(id) = self.names.get(&(device.dialect, name.clone())).copied() {
            self.forget(id);
        }
    }

    /// What is to be written, at most `max` records; they count as written.
    pub fn take_unsaved(&mut self, max: usize) -> Vec<Save> {
        let ids: Vec<KnockId> = self.unsaved.iter().copied().take(max).collect();
        let mut saves = Vec::with_capacity(ids.len());
        for id in ids {
            self.unsaved.remove(&id);
            saves.extend(self.knocks.get(&id).map(|knock| Save::KnockHeard(Box::new(knock.clone()))));
        }
        let more = self.gone.len().min(max.saturating_sub(saves.len()));
        saves.extend(self.gone.drain(..more).map(Save::DropKnock));
        saves
    }

    /// What was taken could not be written.
    pub fn unsaved_again(&mut self, saves: &[Save]) {
        for save in saves {
            match save {
                Save::KnockHeard(knock) if self.knocks.contains_key(&knock.id) => {
                    self.unsaved.insert(knock.id);
                }
                Save::DropKnock(id) if !self.knocks.contains_key(id) => self.gone.push(*id),
                _ => {}
            }
        }
    }
}

fn counted((since, count): &mut (Time, u32), now: Time) -> u32 {
    if now - *since >= NEW_EVERY {
        (*since, *count) = (now, 0);
    }
    *count = count.saturating_add(1);
    *count
}

fn key(said: &Said) -> (Dialect, String) {
    (said.dialect, said.name.clone())
}

#[cfg(test)]
mod tests;
