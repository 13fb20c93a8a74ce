//! Accounts and actors: who is meant by the names, ARNs and identities of CloudTrail.

use ledger::event::{AccountId, AccountKind, Actor, ActorKind, BadText, Handle, Namespace, Text};

use super::record::Caller;

/// Whether an account is a user or a role. The two have names of their own: a user and a role may share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Principal {
    User,
    Role,
}

impl Principal {
    fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Role => "role",
        }
    }

    /// An IAM user stands for a person and a role for a service, as IAM means them; CloudTrail does not say more.
    pub(super) fn account_kind(self) -> AccountKind {
        match self {
            Self::User => AccountKind::Human,
            Self::Role => AccountKind::Service,
        }
    }
}

/// A user or role of one AWS account, by its present name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    /// The AWS account that it lives in.
    pub(super) aws: String,
    pub(super) principal: Principal,
    /// Its name without a path: IAM allows each name once, whatever the path.
    pub(super) name: String,
}

impl Subject {
    pub(super) fn user(aws: &str, name: &str) -> Self {
        Self { aws: aws.to_owned(), principal: Principal::User, name: name.to_owned() }
    }

    pub(super) fn role(aws: &str, name: &str) -> Self {
        Self { aws: aws.to_owned(), principal: Principal::Role, name: name.to_owned() }
    }

    /// The role of `arn:aws:iam::{account}:role/{path}/{name}`, in its own account, which need not be the caller's.
    pub(super) fn of_role_arn(arn: &str) -> Option<Self> {
        let (aws, resource) = parse_arn(arn)?;
        let name = resource.strip_prefix("role/")?.rsplit('/').next()?;
        (!name.is_empty()).then(|| Self::role(aws, name))
    }

    /// The role of `arn:aws:sts::{account}:assumed-role/{name}/{session}`.
    pub(super) fn of_session_arn(arn: &str) -> Option<Self> {
        let (aws, resource) = parse_arn(arn)?;
        let (name, _session) = resource.strip_prefix("assumed-role/")?.split_once('/')?;
        (!name.is_empty()).then(|| Self::role(aws, name))
    }

    /// The user of `arn:aws:iam::{account}:user/{path}/{name}`.
    fn of_user_arn(arn: &str) -> Option<Self> {
        let (aws, resource) = parse_arn(arn)?;
        let name = resource.strip_prefix("user/")?.rsplit('/').next()?;
        (!name.is_empty()).then(|| Self::user(aws, name))
    }

    /// The account's id: `{aws account}:{user or role}:{name}`.
    pub(super) fn account(&self) -> Result<AccountId, BadText> {
        joined(&[&self.aws, self.principal.word(), &self.name], ":").map(AccountId)
    }

    /// The account's handle: its name.
    pub(super) fn handle(&self) -> Result<Handle, BadText> {
        Handle::new(&self.name)
    }

    /// The namespace in which its handle is unique: `{aws account}:{user or role}`.
    pub(super) fn namespace(&self) -> Result<Namespace, BadText> {
        Namespace::new(&format!("{}:{}", self.aws, self.principal.word()))
    }
}

/// Parts of the input as one text. Each is checked by itself too: a secret in it shows best where it begins.
pub(super) fn joined(parts: &[&str], with: &str) -> Result<Text, BadText> {
    parts.iter().try_for_each(|part| Text::new(part).map(drop))?;
    Text::new(&parts.join(with))
}

/// The AWS account and the resource of an ARN that names an account.
fn parse_arn(arn: &str) -> Option<(&str, &str)> {
    let mut parts = arn.splitn(6, ':');
    let (scheme, _partition, _service, _region) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let (aws, resource) = (parts.next()?, parts.next()?);
    (scheme == "arn" && !aws.is_empty()).then_some((aws, resource))
}

impl Caller {
    /// The AWS account that the caller belongs to.
    pub(super) fn aws(&self) -> Option<&str> {
        let issuer = &self.session_context.session_issuer;
        let of_arn = self.arn.get().and_then(parse_arn).map(|(aws, _)| aws);
        self.account_id.get().or_else(|| issuer.account_id.get()).or(of_arn)
    }

    /// The account behind the caller: a call without `userName` is about it. `None` for callers that are neither user
    /// nor role of an account that is named: AWS services, federated people, callers of other accounts.
    ///
    /// - `IAMUser`: the user.
    /// - `Root`: `{aws account}:user:root`. (IAM lets a user be called `root` too; the two then share an id.)
    /// - `AssumedRole`, and `FederatedUser` (which has the credentials of a user): whoever issued the session.
    pub(super) fn subject(&self) -> Option<Subject> {
        let aws = self.aws();
        match self.kind.get()? {
            "Root" => Some(Subject::user(aws?, "root")),
            "IAMUser" => match self.user_name.get() {
                Some(name) => Some(Subject::user(aws?, name)),
                None => Subject::of_user_arn(self.arn.get()?),
            },
            "AssumedRole" | "FederatedUser" | "Role" => self.issuer(),
            _ => None,
        }
    }

    fn issuer(&self) -> Option<Subject> {
        let issuer = &self.session_context.session_issuer;
        let aws = issuer.account_id.get().or_else(|| self.aws());
        let from_arn = |arn: &str| {
            Subject::of_session_arn(arn)
                .or_else(|| Subject::of_role_arn(arn))
                .or_else(|| Subject::of_user_arn(arn))
        };
        match (issuer.kind.get(), issuer.user_name.get()) {
            (Some("Role"), Some(name)) => Some(Subject::role(aws?, name)),
            (Some("IAMUser"), Some(name)) => Some(Subject::user(aws?, name)),
            (Some("Root"), _) => Some(Subject::user(aws?, "root")),
            _ => issuer.arn.get().and_then(from_arn).or_else(|| self.arn.get().and_then(from_arn)),
        }
    }

    /// Who called, as an actor.
    ///
    /// People are IAM users, the root user, those who come in by SAML or IAM Identity Center, and those behind the
    /// roles that IAM Identity Center makes. Programs are AWS services, web identities (workloads of a cluster or a
    /// build service) and all other roles. What comes from another account is not known. A user or role is named by its
    /// account id, so that what an account did and what was done to it meet; the name of a role's session is left out,
    /// as it differs each time and would tear apart what one program did; behind a role of IAM Identity Center it is
    /// the person, and is kept.
    pub(super) fn actor(&self) -> Result<Actor, BadText> {
        let subject = self.subject();
        let (kind, id) = match (self.kind.get().unwrap_or_default(), &subject) {
            ("AssumedRole", Some(role)) if role.name.starts_with("AWSReservedSSO_") => {
                (ActorKind::Human, self.person_behind(role)?)
            }
            ("IAMUser" | "Root" | "FederatedUser", Some(user)) => (ActorKind::Human, user.account()?.0),
            (_, Some(role)) => (ActorKind::Automation, role.account()?.0),
            ("SAMLUser", None) => (ActorKind::Human, self.federated("saml")?),
            ("IdentityCenterUser", None) => (ActorKind::Human, self.of_identity_center()?),
            ("WebIdentityUser", None) => (ActorKind::Automation, self.federated("web-identity")?),
            ("AWSService", None) => (ActorKind::Automation, self.first_name("aws-service")?),
            ("IAMUser" | "Root", None) => (ActorKind::Human, self.first_name("unknown")?),
            _ => (ActorKind::Unknown, self.first_name("unknown")?),
        };
        Ok(Actor { kind, id })
    }

    fn person_behind(&self, role: &Subject) -> Result<Text, BadText> {
        let account = role.account()?.0;
        match self.arn.get().and_then(|arn| arn.rsplit_once('/')) {
            Some((_, session)) if !session.is_empty() => joined(&[account.as_str(), session], "/"),
            _ => Ok(account),
        }
    }

    /// `{how}:{provider}:{name}`.
    fn federated(&self, how: &str) -> Result<Text, BadText> {
        let provider = self.identity_provider.get().unwrap_or("unknown");
        let name = self.user_name.get().or_else(|| self.principal_id.get()).unwrap_or("unknown");
        joined(&[how, provider, name], ":")
    }

    fn of_identity_center(&self) -> Result<Text, BadText> {
        let id = self.on_behalf_of.user_id.get().or_else(|| self.user_name.get());
        joined(&["identity-center", id.or_else(|| self.principal_id.get()).unwrap_or("unknown")], ":")
    }

    fn first_name(&self, otherwise: &str) -> Result<Text, BadText> {
        let names = [&self.invoked_by, &self.arn, &self.principal_id, &self.user_name, &self.account_id];
        Text::new(names.into_iter().find_map(|name| name.get()).unwrap_or(otherwise))
    }
}
