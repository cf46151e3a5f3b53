//! Who may do what: five roles, each of which includes the one before it, and one permission per kind of deed.

/// What a caller is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Has no permission: sees and controls the devices that are shared with it, and nothing else.
    Customer,
    /// Sees everything but users, tokens and secrets.
    Viewer,
    /// Also activates assigned scripts and forces, cancels, retries or rolls back an update.
    Manager,
    /// Also makes and changes devices, scripts, deployments and topic grants.
    Engineer,
    /// Also makes and changes users and tokens.
    Admin,
}

impl Role {
    /// All roles, from least to most.
    pub const ALL: [Role; 5] = [Role::Customer, Role::Viewer, Role::Manager, Role::Engineer, Role::Admin];

    /// The role's name in the API and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Viewer => "viewer",
            Self::Manager => "manager",
            Self::Engineer => "engineer",
            Self::Admin => "admin",
        }
    }

    /// A role by its name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// Whether it belongs to the vendor's people and programs; the other one is the customer.
    pub fn is_staff(self) -> bool {
        self > Self::Customer
    }

    /// Whether this role has a permission.
    pub fn may(self, permission: Permission) -> bool {
        self >= match permission {
            Permission::See => Self::Viewer,
            Permission::Operate => Self::Manager,
            Permission::Build => Self::Engineer,
            Permission::Administer => Self::Admin,
        }
    }
}

/// A kind of deed; every route names the one it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Look at devices, scripts, deployments, telemetry and activity.
    See,
    /// Choose the active script; force, cancel, retry or roll back an update.
    Operate,
    /// Make and change devices, scripts, deployments and grants.
    Build,
    /// Make and change users and tokens.
    Administer,
}
