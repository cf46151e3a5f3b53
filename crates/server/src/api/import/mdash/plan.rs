//! What an import from mDash comes to, entry by entry: what is made, what is here already and stays as it is, what has
//! no place here, what is wrong.

use std::collections::{HashMap, HashSet};

use motehub_domain::access::Role;
use motehub_domain::artifact::Digest;
use motehub_domain::change::Actor;
use motehub_domain::device::{self, Dialect, Registration};
use motehub_domain::effects::Effects;
use motehub_domain::person::{self, Token, User};
use motehub_domain::shadow;
use motehub_domain::share;
use motehub_domain::time::Time;

use super::MdashReport;
use super::file::{self, File};
use crate::api::import::entry::{EntryError, Imported, NAMED_MAX, Outcome};
use crate::{random, secrets};

/// The user of mDash who may do everything.
const ADMIN: &str = "admin";

/// What is here already, as far as the file speaks of it.
pub(super) struct Here {
    /// Users by their names in small letters.
    pub(super) users: HashMap<String, User>,
    pub(super) tokens: Vec<Token>,
    /// Lights by their own ids.
    pub(super) devices: HashMap<String, device::Device>,
    /// Devices by the digests of their credentials.
    pub(super) credentials: HashMap<Digest, device::Device>,
}

/// Decides about each entry of the file.
pub(super) fn plan(file: &File, here: Here, actor: &Actor, now: Time) -> (MdashReport, Effects) {
    let mut plan = Plan {
        here,
        actor,
        now,
        people: HashMap::new(),
        seen: HashSet::new(),
        effects: Vec::new(),
        report: MdashReport::default(),
    };
    for entry in &file.users {
        let judged = entry.read.as_ref().map_err(Clone::clone).and_then(|user| plan.user(user));
        plan.note("user", &entry.name, judged);
    }
    for entry in &file.keys {
        let judged = entry.read.as_ref().map_err(Clone::clone).and_then(|key| plan.key(&entry.name, key));
        plan.note("key", &entry.name, judged);
    }
    for entry in &file.devices {
        let judged = entry.read.as_ref().map_err(Clone::clone).and_then(|device| plan.device(device));
        plan.note("device", &entry.name, judged);
    }
    (plan.report, plan.effects.into_iter().fold(Effects::none(), Effects::and))
}

struct Plan<'a> {
    here: Here,
    actor: &'a Actor,
    now: Time,
    /// By how the file calls them.
    people: HashMap<String, User>,
    /// Names and ids that the file had already.
    seen: HashSet<(&'static str, String)>,
    effects: Vec<Effects>,
    report: MdashReport,
}

/// What comes of an entry, with a remark; or what is wrong with it.
type Judged = Result<(Outcome, String), String>;

impl Plan<'_> {
    fn note(&mut self, kind: &'static str, name: &str, judged: Judged) {
        let name = name.to_owned();
        match judged {
            Ok((outcome, detail)) => {
                let made = &mut self.report.made;
                match (outcome, kind) {
                    (Outcome::Known, _) => self.report.known += 1,
                    (Outcome::LeftOut, _) => self.report.left_out += 1,
                    (Outcome::Made, "user") => made.users += 1,
                    (Outcome::Made, "key") => made.keys += 1,
                    (Outcome::Made, _) => made.devices += 1,
                }
                self.report.entries_total += 1;
                if self.report.entries.len() < NAMED_MAX {
                    self.report.entries.push(Imported { kind, name, outcome, detail });
                }
            }
            Err(detail) => {
                self.report.errors_total += 1;
                if self.report.errors.len() < NAMED_MAX {
                    self.report.errors.push(EntryError { kind, name, detail });
                }
            }
        }
    }

    /// People by their names; those who are here stay as they are.
    fn user(&mut self, user: &file::User) -> Judged {
        let plain = user.name.to_lowercase();
        if !self.seen.insert(("user", plain.clone())) {
            return Err("another user of the file has this name".to_owned());
        }
        if let Some(known) = self.here.users.get(&plain) {
            let detail = format!("is here, as {}", known.role.as_str());
            self.people.insert(user.id.clone(), known.clone());
            return Ok((Outcome::Known, detail));
        }
        let role = if plain == ADMIN { Role::Admin } else { Role::Customer };
        let (id, hash) = (random::id(self.now), user.bcrypt.clone());
        let made = person::bring(id, &user.name, role, hash, self.actor, self.now);
        let (made, effects) = made.map_err(|rejection| rejection.sentence)?;
        self.effects.push(effects);
        self.people.insert(user.id.clone(), made);
        Ok((Outcome::Made, format!("{}, with the same password", role.as_str())))
    }

    /// Keys become tokens with the role of their user; customers have none.
    fn key(&mut self, name: &str, key: &file::Key) -> Judged {
        let digest = secrets::digest(&key.secret);
        if let Some(known) = self.here.tokens.iter().find(|token| token.digest == digest) {
            return Ok((Outcome::Known, format!("is here, as the token {:?}", known.name)));
        }
        let user = self.people.get(&key.user).ok_or_else(|| unknown(&key.user))?;
        if !user.role.is_staff() {
            return Ok((Outcome::LeftOut, format!("{} is a customer, who needs none", user.name)));
        }
        let token = Token {
            id: random::id(self.now),
            name: name.to_owned(),
            role: user.role,
            digest,
            has_access_key: false,
            created_at: self.now,
            expires_at: None,
            last_used_at: None,
        };
        let detail = format!("a token with the role {}, as {} has it", user.role.as_str(), user.name);
        let made = person::create_token(&token, &self.here.tokens, self.actor, self.now);
        let (token, effects) = made.map_err(|rejection| rejection.sentence)?;
        self.here.tokens.push(token);
        self.effects.push(effects);
        Ok((Outcome::Made, detail))
    }

    /// A device with its token, its shadow and its customers, or nothing of it.
    fn device(&mut self, given: &file::Device) -> Judged {
        if !self.seen.insert(("device", given.id.clone())) {
            return Err("another device of the file has this id".to_owned());
        }
        let credential = secrets::digest(&given.token);
        let by_token = self.here.credentials.get(&credential);
        if let Some(known) = self.here.devices.get(&given.id) {
            let remark =
                if by_token.is_some_and(|it| it.id == known.id) { "" } else { " with another token" };
            return Ok((Outcome::Known, format!("is here{remark}, as {:?}", known.name)));
        }
        if let Some(other) = by_token {
            return Err(format!("token: the device {:?} has it", other.name));
        }
        let registration = Registration {
            name: given.name.clone(),
            description: String::new(),
            dialect: Dialect::Mongoose,
            external_id: Some(given.id.clone()),
            tags: Vec::new(),
            line: None,
        };
        let made_at = given.created_at.filter(|at| *at <= self.now).unwrap_or(self.now);
        let made = device::register(random::id(self.now), &registration, credential, self.actor, made_at);
        let (device, mut effects) = made.map_err(|rejection| rejection.sentence)?;
        if let Some(shadow) = &given.shadow {
            effects = effects.and(self.shadow(&device, shadow)?);
        }
        let customers = self.customers(given)?;
        let shared = share::bring(&device, &customers, self.actor, self.now);
        self.effects.push(effects.and(shared.map_err(|rejection| rejection.sentence)?));
        self.report.made.shadows += usize::from(given.shadow.is_some());
        self.report.made.shares += customers.len();
        let names: Vec<&str> = customers.iter().map(|user| user.name.as_str()).collect();
        Ok((
            Outcome::Made,
            match names.split_first() {
                None => format!("{:?}, of no customer", device.name),
                Some((owner, [])) => format!("{:?} of {owner}", device.name),
                Some((owner, guests)) => {
                    format!("{:?} of {owner}, shared with {}", device.name, guests.join(", "))
                }
            },
        ))
    }

    /// With the version and the time that it has, so that who knows the version may go on from it.
    fn shadow(&self, device: &device::Device, given: &file::Shadow) -> Result<Effects, String> {
        let version = given.version.map_or(0, |version| version - 1);
        let none = shadow::Shadow { version, ..shadow::Shadow::none(device.id, None) };
        let at = given.at.filter(|at| *at <= self.now).unwrap_or(self.now);
        let made = shadow::update(device, &none, 0, &given.update, self.actor, at);
        let (_, effects) = made.map_err(|refusal| format!("shadow: {refusal}"))?;
        // Nobody listens for a device that was not here; it is told what is desired when it comes.
        Ok(Effects { say: Vec::new(), send: Vec::new(), ..effects })
    }

    /// Whose it is, and with whom it is shared; the vendor's people see it anyway.
    fn customers(&self, given: &file::Device) -> Result<Vec<User>, String> {
        let mut customers: Vec<User> = Vec::new();
        for name in &given.users {
            let user = self.people.get(name).ok_or_else(|| unknown(name))?;
            if !user.role.is_staff() && customers.iter().all(|known| known.id != user.id) {
                customers.push(user.clone());
            }
        }
        Ok(customers)
    }
}

fn unknown(user: &str) -> String {
    format!("there is no good user {:?} in the file", motehub_domain::text::shown(user, 60))
}
