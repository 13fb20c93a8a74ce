//! What only shows when the calls stand in the order of time: who is meant by a name that has changed, and which
//! password is meant by "the login profile".

use std::collections::HashMap;

use ledger::event::{AccountId, Event, Fact, Text, TokenId};

use super::caller::Subject;
use super::map::LOGIN_PROFILE;

/// A user's password, as far as the input shows it.
struct Password {
    token: TokenId,
    ended: bool,
}

/// What was learnt from the calls so far.
///
/// - An account keeps the id under which it was first met when `UpdateUser` gives it another name: calls under its new
///   name, about it and by it, are calls of the same account.
/// - A password that is set again after it was deleted is another token, `login-profile/{time}`, since a token that was
///   revoked does not come back by being issued again.
///
/// Both go by the calls of this input alone. Where a rename, or the deletion of a password, lies in an earlier import,
/// the new name is taken for a new account, and the password for the old token.
#[derive(Default)]
pub(super) struct Story {
    /// The account behind an id made of its present name, where the two differ.
    renamed: HashMap<AccountId, AccountId>,
    passwords: HashMap<AccountId, Password>,
}

impl Story {
    /// Corrects an event in the light of those before, and learns from it. To be called in the order of time.
    pub(super) fn follow(&mut self, event: &mut Event, subject: &Subject) {
        if let Some(id) = self.renamed.get(event.actor.id.as_str()) {
            event.actor.id = id.0.clone();
        }
        let Some(named) = event.account.clone() else { return };
        if matches!(event.fact, Fact::AccountCreated { .. }) {
            // The name is free again: whoever had it is gone, though the input does not show it.
            self.renamed.remove(&named);
        }
        let account = self.renamed.get(&named).cloned().unwrap_or_else(|| named.clone());
        match &mut event.fact {
            Fact::AccountUpdated { handle: Some(new), .. } => {
                self.rename(&named, &account, subject, new.as_str())
            }
            Fact::AccountCreated { .. } | Fact::AccountDeleted { .. } => {
                self.renamed.remove(&named);
                self.passwords.remove(&account);
            }
            Fact::TokenIssued(issued) if issued.token.as_str() == LOGIN_PROFILE => {
                let again = format!("{LOGIN_PROFILE}/{}", event.occurred_at);
                issued.token = self.set_password(&account, &again).unwrap_or_else(|| issued.token.clone());
            }
            Fact::TokenRevoked { token, .. } if token.as_str() == LOGIN_PROFILE => {
                let password = self.passwords.entry(account.clone());
                let password = password.or_insert_with(|| Password { token: token.clone(), ended: true });
                password.ended = true;
                token.clone_from(&password.token);
            }
            _ => {}
        }
        event.account = Some(account);
    }

    fn rename(&mut self, named: &AccountId, account: &AccountId, subject: &Subject, new: &str) {
        self.renamed.remove(named);
        let now = Subject { name: new.to_owned(), ..subject.clone() };
        // The new name was checked as a handle; with its account before it, it may still be too long for an id. Then
        // calls under it were refused by the mapping already.
        if let Ok(id) = now.account()
            && id != *account
        {
            self.renamed.insert(id, account.clone());
        }
    }

    /// The token of a password that is set: `None` for the first that is met.
    fn set_password(&mut self, account: &AccountId, again: &str) -> Option<TokenId> {
        let first = Text::new(LOGIN_PROFILE).ok().map(TokenId)?;
        let password =
            self.passwords.entry(account.clone()).or_insert_with(|| Password { token: first, ended: false });
        if std::mem::take(&mut password.ended) {
            password.token = TokenId::new(again).ok()?;
        }
        Some(password.token.clone())
    }
}
