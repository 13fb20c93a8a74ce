//! One call, one event: every mapping, who it is about, and who did it.

use ledger::event::{ActorKind, Expiry, Fact};

use super::super::call::Call;
use super::super::map::{Mapped, Unmappable, map};
use super::super::record::Record;
use super::*;
use crate::json::sent_to_json;

fn mapped(record: &Value) -> Result<Option<Mapped>, Unmappable> {
    let record: Record = serde_json::from_value(record.clone()).unwrap();
    map(Call::of(&record).expect("a call that is mapped"), &record)
}

/// What became of a call: kind, account, data.
fn event(record: &Value) -> (String, String, Value) {
    let event = mapped(record).unwrap().expect("an event").event;
    let json = serde_json::to_value(sent_to_json(&event)).unwrap();
    let text = |key: &str| json[key].as_str().unwrap().to_owned();
    (text("kind"), text("account"), json["data"].clone())
}

const AT: &str = "2024-01-01T00:00:00Z";

fn check(name: &str, request: Value, response: Value, kind: &str, account: &str, data: Value) {
    let account = format!("{AWS}:{account}");
    assert_eq!(event(&call(name, AT, request, response)), (kind.to_owned(), account, data), "{name}");
}

#[test]
fn accounts_are_created_changed_and_deleted() {
    let role_arn = format!("arn:aws:iam::{AWS}:role/ci/deployer");
    let role =
        json!({"role": {"path": "/ci/", "roleName": "deployer", "roleId": "AROAEXAMPLE", "arn": role_arn}});
    let none = Value::Null;
    check(
        "CreateRole",
        json!({"roleName": "deployer", "path": "/ci/"}),
        role,
        "AccountCreated",
        "role:deployer",
        json!({"kind": "service", "handle": "deployer", "namespace": format!("{AWS}:role"), "protected": false,
            "attributes": {"arn": role_arn, "path": "/ci/", "unique_id": "AROAEXAMPLE"}}),
    );
    check(
        "CreateUser",
        json!({"userName": "bob"}),
        none.clone(),
        "AccountCreated",
        "user:bob",
        json!({"kind": "human", "handle": "bob", "namespace": format!("{AWS}:user"), "protected": false}),
    );
    let user =
        |name: &str, request, data| check(name, request, Value::Null, "AccountUpdated", "user:bob", data);
    user("UpdateUser", json!({"userName": "bob", "newUserName": "rob"}), json!({"handle": "rob"}));
    user(
        "UpdateUser",
        json!({"userName": "bob", "newPath": "/x/"}),
        json!({"attributes_set": {"path": "/x/"}}),
    );
    let at = json!({"attributes_set": {"login_profile_updated_at": AT}});
    user("UpdateLoginProfile", json!({"userName": "bob"}), at);
    let role =
        |name: &str, request, data| check(name, request, Value::Null, "AccountUpdated", "role:r", data);
    role(
        "UpdateRole",
        json!({"roleName": "r", "maxSessionDuration": 7200}),
        json!({"attributes_set": {"max_session_seconds": "7200"}}),
    );
    let at = json!({"attributes_set": {"trust_policy_updated_at": AT}});
    role("UpdateAssumeRolePolicy", json!({"roleName": "r", "policyDocument": "{}"}), at);
    check("DeleteUser", json!({"userName": "bob"}), none.clone(), "AccountDeleted", "user:bob", json!({}));
    check("DeleteRole", json!({"roleName": "r"}), none, "AccountDeleted", "role:r", json!({}));
}

#[test]
fn keys_and_passwords_are_tokens_that_never_expire() {
    let bob = || json!({"userName": "bob", "accessKeyId": "AKIAEXAMPLE"});
    let key = json!({"accessKey": {"accessKeyId": "AKIAEXAMPLE", "status": "Active", "userName": "bob"}});
    let never = |token: &str| json!({"token": token, "expiry": "never"});
    let revoked = |token: &str| json!({"token": token, "reason": "unspecified"});
    let none = || Value::Null;
    check(
        "CreateAccessKey",
        json!({"userName": "bob"}),
        key,
        "TokenIssued",
        "user:bob",
        never("AKIAEXAMPLE"),
    );
    check("CreateLoginProfile", bob(), none(), "TokenIssued", "user:bob", never("login-profile"));
    check("DeleteAccessKey", bob(), none(), "TokenRevoked", "user:bob", revoked("AKIAEXAMPLE"));
    check("DeleteLoginProfile", bob(), none(), "TokenRevoked", "user:bob", revoked("login-profile"));
    let status = |status: &str| json!({"userName": "bob", "accessKeyId": "AKIAEXAMPLE", "status": status});
    check("UpdateAccessKey", status("Inactive"), none(), "TokenRevoked", "user:bob", revoked("AKIAEXAMPLE"));
    let reinstated = json!({"token": "AKIAEXAMPLE"});
    check("UpdateAccessKey", status("Active"), none(), "TokenReinstated", "user:bob", reinstated);
    assert!(mapped(&call("UpdateAccessKey", AT, status("Expired"), none())).unwrap().is_none());
}

#[test]
fn sessions_are_tokens_with_the_expiry_that_the_answer_gives() {
    let answer = |expiration: Value| json!({"credentials": {"accessKeyId": "ASIAEXAMPLE", "sessionToken": "s", "expiration": expiration}});
    let role = json!({"roleArn": "arn:aws-cn:iam::999988887777:role/a/b/deployer", "roleSessionName": "s"});
    let until = json!({"token": "ASIAEXAMPLE", "expiry": "2023-07-10T13:04:53Z"});
    for name in ["AssumeRole", "AssumeRoleWithSAML", "AssumeRoleWithWebIdentity"] {
        let call = call(name, AT, role.clone(), answer("Jul 10, 2023, 1:04:53 PM".into()));
        let event = event(&call);
        assert_eq!(
            event,
            ("TokenIssued".into(), "999988887777:role:deployer".into(), until.clone()),
            "{name}"
        );
    }
    for name in ["GetSessionToken", "GetFederationToken"] {
        let request = json!({"name": "visitor"});
        check(
            name,
            request,
            answer(1_688_994_293_000_u64.into()),
            "TokenIssued",
            "user:alice",
            until.clone(),
        );
    }
    let unknown = json!({"token": "ASIAEXAMPLE", "expiry": "unknown"});
    for none in [Value::Null, "soon".into(), json!({"at": 1})] {
        check("GetSessionToken", Value::Null, answer(none), "TokenIssued", "user:alice", unknown.clone());
    }
}

#[test]
fn a_token_whose_answer_is_left_out_is_recorded_under_the_id_of_its_event() {
    let record =
        call("AssumeRole", AT, json!({"roleArn": "arn:aws:iam::1:role/r"}), json!({"omitted": true}));
    let (kind, account, data) = event(&record);
    assert_eq!((kind.as_str(), account.as_str()), ("TokenIssued", "1:role:r"));
    assert_eq!(data["token"], format!("event/{}", record["eventID"].as_str().unwrap()));
    assert_eq!(data["expiry"], "unknown");
}

#[test]
fn policies_groups_and_instance_profiles_are_grants_and_consumers() {
    let user = |more: Value| with(more, "userName", "bob".into());
    let role = |more: Value| with(more, "roleName", "r".into());
    let policy = || json!({"policyArn": "arn:aws:iam::aws:policy/Admin"});
    let inline = || json!({"policyName": "p", "policyDocument": "{}"});
    let group = || json!({"groupName": "g"});
    for (name, request, kind, account, grant) in [
        (
            "AttachUserPolicy",
            user(policy()),
            "GrantAdded",
            "user:bob",
            "policy/arn:aws:iam::aws:policy/Admin",
        ),
        ("AttachRolePolicy", role(policy()), "GrantAdded", "role:r", "policy/arn:aws:iam::aws:policy/Admin"),
        (
            "DetachUserPolicy",
            user(policy()),
            "GrantRemoved",
            "user:bob",
            "policy/arn:aws:iam::aws:policy/Admin",
        ),
        (
            "DetachRolePolicy",
            role(policy()),
            "GrantRemoved",
            "role:r",
            "policy/arn:aws:iam::aws:policy/Admin",
        ),
        ("PutUserPolicy", user(inline()), "GrantAdded", "user:bob", "inline-policy/p"),
        ("PutRolePolicy", role(inline()), "GrantAdded", "role:r", "inline-policy/p"),
        ("DeleteUserPolicy", user(inline()), "GrantRemoved", "user:bob", "inline-policy/p"),
        ("DeleteRolePolicy", role(inline()), "GrantRemoved", "role:r", "inline-policy/p"),
        ("AddUserToGroup", user(group()), "GrantAdded", "user:bob", "group/g"),
        ("RemoveUserFromGroup", user(group()), "GrantRemoved", "user:bob", "group/g"),
    ] {
        check(name, request, Value::Null, kind, account, json!({ "grant": grant }));
    }
    let profile = || role(json!({"instanceProfileName": "web"}));
    let declared = json!({"consumer": "instance-profile/web", "component": "instance-profile"});
    check("AddRoleToInstanceProfile", profile(), Value::Null, "ConsumerDeclared", "role:r", declared);
    let released = json!({"consumer": "instance-profile/web"});
    check("RemoveRoleFromInstanceProfile", profile(), Value::Null, "ConsumerReleased", "role:r", released);
}

#[test]
fn other_services_and_other_calls_are_not_mapped() {
    for (field, value) in
        [("eventSource", "s3.amazonaws.com"), ("eventName", "ListUsers"), ("eventName", "createuser")]
    {
        let record = with(call("CreateUser", AT, json!({"userName": "a"}), Value::Null), field, value.into());
        let record: Record = serde_json::from_value(record).unwrap();
        assert_eq!(Call::of(&record), None, "{value}");
    }
}

fn caller(identity: Value) -> (Option<String>, ActorKind, String) {
    let record = call("GetSessionToken", AT, Value::Null, Value::Null);
    let subject = mapped(&with(record, "userIdentity", identity.clone())).map(|m| m.unwrap().event.account);
    let role = call("AssumeRole", AT, json!({"roleArn": "arn:aws:iam::1:role/r"}), Value::Null);
    let actor = mapped(&with(role, "userIdentity", identity)).unwrap().unwrap().event.actor;
    (subject.ok().flatten().map(|a| a.to_string()), actor.kind, actor.id.to_string())
}

#[test]
fn callers_are_accounts_where_they_have_one_and_actors_always() {
    use ActorKind::{Automation, Human, Unknown};
    let assumed = |role: &str, session: &str| {
        json!({"type": "AssumedRole", "accountId": "2", "arn": format!("arn:aws:sts::2:assumed-role/{role}/{session}"),
            "sessionContext": {"sessionIssuer": {"type": "Role", "accountId": "2", "userName": role,
                "arn": format!("arn:aws:iam::2:role/x/{role}")}}})
    };
    let without_issuer = json!({"type": "AssumedRole", "arn": "arn:aws:sts::2:assumed-role/ci/run-1"});
    let federated = json!({"type": "FederatedUser", "accountId": "2", "arn": "arn:aws:sts::2:federated-user/v",
        "sessionContext": {"sessionIssuer": {"type": "IAMUser", "accountId": "2", "userName": "bob"}}});
    let web = json!({"type": "WebIdentityUser", "identityProvider": "arn:aws:iam::2:oidc-provider/ci", "userName": "repo:x"});
    let saml = json!({"type": "SAMLUser", "identityProvider": "idp", "userName": "eve"});
    let center = json!({"type": "IdentityCenterUser", "accountId": "2", "onBehalfOf": {"userId": "u-1"}});
    let service = json!({"type": "AWSService", "invokedBy": "inspector2.amazonaws.com"});
    let sso = "AWSReservedSSO_Admin_0123";
    for (identity, subject, kind, actor) in [
        (
            json!({"type": "Root", "accountId": "2", "arn": "arn:aws:iam::2:root"}),
            Some("2:user:root"),
            Human,
            "2:user:root",
        ),
        (
            json!({"type": "IAMUser", "accountId": "2", "userName": "bob"}),
            Some("2:user:bob"),
            Human,
            "2:user:bob",
        ),
        (
            json!({"type": "IAMUser", "arn": "arn:aws:iam::2:user/p/bob"}),
            Some("2:user:bob"),
            Human,
            "2:user:bob",
        ),
        (assumed("ci", "run-1"), Some("2:role:ci"), Automation, "2:role:ci"),
        (without_issuer, Some("2:role:ci"), Automation, "2:role:ci"),
        (
            assumed(sso, "eve@x.example"),
            Some("2:role:AWSReservedSSO_Admin_0123"),
            Human,
            "2:role:AWSReservedSSO_Admin_0123/eve@x.example",
        ),
        (federated, Some("2:user:bob"), Human, "2:user:bob"),
        (saml, None, Human, "saml:idp:eve"),
        (web, None, Automation, "web-identity:arn:aws:iam::2:oidc-provider/ci:repo:x"),
        (center, None, Human, "identity-center:u-1"),
        (service, None, Automation, "inspector2.amazonaws.com"),
        (
            json!({"type": "AWSAccount", "accountId": "2", "principalId": "AIDAEXAMPLE"}),
            None,
            Unknown,
            "AIDAEXAMPLE",
        ),
        (Value::Null, None, Unknown, "unknown"),
        ("odd".into(), None, Unknown, "unknown"),
    ] {
        assert_eq!(
            caller(identity.clone()),
            (subject.map(str::to_owned), kind, actor.to_owned()),
            "{identity}"
        );
    }
}

#[test]
fn a_call_without_a_user_name_is_about_the_caller() {
    let key = json!({"accessKeyId": "AKIAEXAMPLE"});
    check(
        "DeleteAccessKey",
        key.clone(),
        Value::Null,
        "TokenRevoked",
        "user:alice",
        json!({"token": "AKIAEXAMPLE", "reason": "unspecified"}),
    );
    let root = json!({"type": "Root", "accountId": AWS, "arn": format!("arn:aws:iam::{AWS}:root")});
    let record = with(call("DeleteAccessKey", AT, key, Value::Null), "userIdentity", root);
    assert_eq!(event(&record).1, format!("{AWS}:user:root"));
}

#[test]
fn the_event_carries_the_ids_of_cloudtrail() {
    let record = call("DeleteUser", "2024-01-01T00:00:00.5Z", json!({"userName": "bob"}), Value::Null);
    let event = mapped(&record).unwrap().unwrap().event;
    assert_eq!(event.event_id.to_string(), record["eventID"].as_str().unwrap());
    assert_eq!(event.emitter.as_str(), format!("cloudtrail/{AWS}"));
    assert_eq!(event.cause.request.unwrap().as_str(), "7a52cdd1-0000-4000-8000-000000000001");
    assert_eq!(event.occurred_at.to_string(), "2024-01-01T00:00:00.500Z");

    let odd = with(record, "eventID", "no uuid".into());
    let id = |record: &Value| mapped(record).unwrap().unwrap().event.event_id;
    assert_eq!((id(&odd).get_version_num(), id(&odd)), (5, id(&odd)));
    assert_ne!(id(&odd), id(&with(odd.clone(), "eventID", "other".into())));
}

#[test]
fn the_aws_account_is_the_trails_else_the_callers() {
    let record = with(
        call("DeleteUser", AT, json!({"userName": "bob"}), Value::Null),
        "recipientAccountId",
        Value::Null,
    );
    assert_eq!(event(&record).1, format!("{AWS}:user:bob"));
    let foreign = call("AssumeRole", AT, json!({"roleArn": "arn:aws:iam::9:role/r"}), Value::Null);
    let event = mapped(&foreign).unwrap().unwrap().event;
    assert_eq!(
        (event.account.unwrap().as_str(), event.emitter.as_str()),
        ("9:role:r", "cloudtrail/111122223333")
    );
    let nobody = with(record, "userIdentity", Value::Null);
    assert_eq!(mapped(&nobody).unwrap_err().to_string(), "field `recipientAccountId` is missing");
}

#[test]
fn what_is_missing_or_looks_like_a_secret_is_named_and_not_repeated() {
    let secret = concat!("glp", "at-AbCdEfGhIjKlMnOpQrSt");
    for (record, field) in [
        (
            call("DeleteAccessKey", AT, json!({"accessKeyId": secret}), Value::Null),
            "requestParameters.accessKeyId",
        ),
        (
            call("AddUserToGroup", AT, json!({"groupName": secret}), Value::Null),
            "requestParameters.groupName",
        ),
        (call("DeleteUser", AT, json!({"userName": secret}), Value::Null), "requestParameters"),
        (
            with(call("DeleteUser", AT, json!({"userName": "a"}), Value::Null), "requestID", secret.into()),
            "requestID",
        ),
        (call("DeleteRole", AT, json!({}), Value::Null), "requestParameters.roleName"),
        (call("CreateUser", AT, json!({}), Value::Null), "requestParameters.userName"),
        (call("AssumeRole", AT, json!({"roleArn": "r"}), Value::Null), "requestParameters.roleArn"),
        (call("DeleteUser", "yesterday", json!({"userName": "a"}), Value::Null), "eventTime"),
        (
            with(call("DeleteUser", AT, json!({"userName": "a"}), Value::Null), "eventID", Value::Null),
            "eventID",
        ),
        (
            with(
                call("DeleteUser", AT, json!({"userName": "a"}), Value::Null),
                "recipientAccountId",
                "a b".into(),
            ),
            "recipientAccountId",
        ),
    ] {
        let error = mapped(&record).unwrap_err().to_string();
        assert!(error.contains(&format!("`{field}`")), "{field}: {error}");
        assert!(!error.contains(secret), "{error}");
    }
}

#[test]
fn secrets_of_the_answer_are_not_even_read() {
    let answer = json!({"credentials": {"accessKeyId": "ASIAEXAMPLE", "secretAccessKey": "SECRET", "sessionToken": "TOKEN"},
        "accessKey": {"secretAccessKey": "SECRET"}});
    let record =
        call("AssumeRole", AT, json!({"roleArn": "arn:aws:iam::1:role/r", "password": "TOKEN"}), answer);
    let record: Record = serde_json::from_value(record).unwrap();
    let held = format!("{record:?}");
    assert!(held.contains("ASIAEXAMPLE") && !held.contains("SECRET") && !held.contains("TOKEN"), "{held}");
}

#[test]
fn no_token_gets_a_digest_or_another_expiry_than_the_source_says() {
    let answer = json!({"credentials": {"accessKeyId": "ASIAEXAMPLE", "sessionToken": "s"}});
    let event = mapped(&call("GetSessionToken", AT, Value::Null, answer)).unwrap().unwrap().event;
    let Fact::TokenIssued(token) = event.fact else { panic!("no token") };
    assert_eq!((token.digest, token.expiry), (None, Expiry::Unknown));
}
