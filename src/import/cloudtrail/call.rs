//! The calls of IAM and STS that the ledger records. All others are unmapped.

use super::caller::Principal;
use super::record::Record;

/// A call that is mapped to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// `CreateUser`, `CreateRole`
    Create(Principal),
    /// `DeleteUser`, `DeleteRole`
    Delete(Principal),
    /// `UpdateUser`, `UpdateRole`
    Update(Principal),
    /// `UpdateAssumeRolePolicy`
    UpdateTrust,
    /// `UpdateLoginProfile`
    UpdateLoginProfile,
    /// `CreateAccessKey`
    CreateAccessKey,
    /// `UpdateAccessKey`
    UpdateAccessKey,
    /// `DeleteAccessKey`
    DeleteAccessKey,
    /// `CreateLoginProfile`
    CreateLoginProfile,
    /// `DeleteLoginProfile`
    DeleteLoginProfile,
    /// `AssumeRole`, `AssumeRoleWithSAML`, `AssumeRoleWithWebIdentity`
    AssumeRole,
    /// `GetSessionToken`, `GetFederationToken`
    GetToken,
    /// `AttachUserPolicy`, `AttachRolePolicy`
    AttachPolicy(Principal),
    /// `DetachUserPolicy`, `DetachRolePolicy`
    DetachPolicy(Principal),
    /// `PutUserPolicy`, `PutRolePolicy`
    PutPolicy(Principal),
    /// `DeleteUserPolicy`, `DeleteRolePolicy`
    DeletePolicy(Principal),
    /// `AddUserToGroup`
    AddToGroup,
    /// `RemoveUserFromGroup`
    RemoveFromGroup,
    /// `AddRoleToInstanceProfile`
    AddToInstanceProfile,
    /// `RemoveRoleFromInstanceProfile`
    RemoveFromInstanceProfile,
}

impl Call {
    /// The call of a record; `None` where it is another service's or none of the above.
    pub(super) fn of(record: &Record) -> Option<Self> {
        let source = record.event_source.get()?;
        if !matches!(source, "iam.amazonaws.com" | "sts.amazonaws.com") {
            return None;
        }
        Self::of_name(record.event_name.get()?)
    }

    fn of_name(name: &str) -> Option<Self> {
        use Principal::{Role, User};
        Some(match name {
            "CreateUser" => Self::Create(User),
            "CreateRole" => Self::Create(Role),
            "DeleteUser" => Self::Delete(User),
            "DeleteRole" => Self::Delete(Role),
            "UpdateUser" => Self::Update(User),
            "UpdateRole" => Self::Update(Role),
            "UpdateAssumeRolePolicy" => Self::UpdateTrust,
            "UpdateLoginProfile" => Self::UpdateLoginProfile,
            "CreateAccessKey" => Self::CreateAccessKey,
            "UpdateAccessKey" => Self::UpdateAccessKey,
            "DeleteAccessKey" => Self::DeleteAccessKey,
            "CreateLoginProfile" => Self::CreateLoginProfile,
            "DeleteLoginProfile" => Self::DeleteLoginProfile,
            "AssumeRole" | "AssumeRoleWithSAML" | "AssumeRoleWithWebIdentity" => Self::AssumeRole,
            "GetSessionToken" | "GetFederationToken" => Self::GetToken,
            "AttachUserPolicy" => Self::AttachPolicy(User),
            "AttachRolePolicy" => Self::AttachPolicy(Role),
            "DetachUserPolicy" => Self::DetachPolicy(User),
            "DetachRolePolicy" => Self::DetachPolicy(Role),
            "PutUserPolicy" => Self::PutPolicy(User),
            "PutRolePolicy" => Self::PutPolicy(Role),
            "DeleteUserPolicy" => Self::DeletePolicy(User),
            "DeleteRolePolicy" => Self::DeletePolicy(Role),
            "AddUserToGroup" => Self::AddToGroup,
            "RemoveUserFromGroup" => Self::RemoveFromGroup,
            "AddRoleToInstanceProfile" => Self::AddToInstanceProfile,
            "RemoveRoleFromInstanceProfile" => Self::RemoveFromInstanceProfile,
            _ => return None,
        })
    }

    /// What the call is about, where its parameters name it by itself and not by an ARN.
    pub(super) fn principal(self) -> Principal {
        match self {
            Self::Create(principal)
            | Self::Delete(principal)
            | Self::Update(principal)
            | Self::AttachPolicy(principal)
            | Self::DetachPolicy(principal)
            | Self::PutPolicy(principal)
            | Self::DeletePolicy(principal) => principal,
            Self::UpdateTrust
            | Self::AssumeRole
            | Self::AddToInstanceProfile
            | Self::RemoveFromInstanceProfile => Principal::Role,
            Self::UpdateLoginProfile
            | Self::CreateAccessKey
            | Self::UpdateAccessKey
            | Self::DeleteAccessKey
            | Self::CreateLoginProfile
            | Self::DeleteLoginProfile
            | Self::GetToken
            | Self::AddToGroup
            | Self::RemoveFromGroup => Principal::User,
        }
    }
}
