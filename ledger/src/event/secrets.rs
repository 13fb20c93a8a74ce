//! Tells texts that look like secrets. Not a scanner of files: it guards single fields against the usual accident, a
//! token's value sent where its id belongs. Shapes from the issuers' public documentation of their token formats.

/// A prefix that only secrets carry, how many characters of a token follow at least, and what it is.
const PREFIXES: &[(&str, usize, &str)] = &[
    ("glpat-", 16, "a GitLab token"),
    ("gldt-", 16, "a GitLab token"),
    ("glrt-", 16, "a GitLab token"),
    ("glcbt-", 16, "a GitLab token"),
    ("glptt-", 16, "a GitLab token"),
    ("gloas-", 16, "a GitLab token"),
    ("ghp_", 30, "a GitHub token"),
    ("gho_", 30, "a GitHub token"),
    ("ghu_", 30, "a GitHub token"),
    ("ghs_", 30, "a GitHub token"),
    ("ghr_", 30, "a GitHub token"),
    ("github_pat_", 30, "a GitHub token"),
    ("xoxb-", 20, "a Slack token"),
    ("xoxp-", 20, "a Slack token"),
    ("xoxa-", 20, "a Slack token"),
    ("xoxs-", 20, "a Slack token"),
    ("xapp-", 20, "a Slack token"),
    ("npm_", 30, "an npm token"),
    ("pypi-", 40, "a PyPI token"),
    ("dop_v1_", 40, "a DigitalOcean token"),
    ("hvs.", 20, "a Vault token"),
    ("hvb.", 20, "a Vault token"),
    ("sk_live_", 16, "a Stripe key"),
    ("rk_live_", 16, "a Stripe key"),
    ("sk-", 40, "an API key"),
    ("AIza", 35, "a Google API key"),
    ("ya29.", 20, "a Google access token"),
    ("SG.", 40, "a SendGrid key"),
    ("FwoGZXIvYXdzE", 40, "an AWS session token"),
    ("IQoJb3JpZ2lu", 40, "an AWS session token"),
    ("FQoGZXIvYXdzE", 40, "an AWS session token"),
];

/// No value that any rule below knows is shorter: a prefix with what follows it at least, or a web token. The rules for
/// opaque values ask for 40 bytes and more.
const VALUE_BYTES_MIN: usize = {
    let (mut least, mut at) = (WEB_TOKEN_BYTES_MIN, 0);
    while at < PREFIXES.len() {
        let bytes = PREFIXES[at].0.len() + PREFIXES[at].1;
        if bytes < least {
            least = bytes;
        }
        at += 1;
    }
    least
};
/// Three parts of at least 8 characters, and two dots.
const WEB_TOKEN_BYTES_MIN: usize = 3 * 8 + 2;

/// Nothing below is shorter, with a password in a URL.
const SECRET_BYTES_MIN: usize = 16;

/// What kind of secret a text looks like, if any.
#[must_use]
pub fn looks_like(text: &str) -> Option<&'static str> {
    if text.len() < SECRET_BYTES_MIN {
        return None;
    }
    let known = if has_long_word(text) { words(text).find_map(known_word) } else { None };
    known.or_else(|| embedded(text))
}

/// Whether a word is long enough to hold a value. Nearly every text is short words or short altogether, and each event
/// has several: they need not be looked at word by word. Characters beyond ASCII may be white space, so they leave it
/// to a closer look.
fn has_long_word(text: &str) -> bool {
    if !text.is_ascii() {
        return true;
    }
    let bytes = text.as_bytes();
    let mut from = 0;
    // A long word that begins at `from` has no cut in as many bytes; looked at from its end, most of them are skipped.
    while let Some(window) = bytes.get(from..from + VALUE_BYTES_MIN) {
        match window.iter().rposition(|byte| CUTS[usize::from(*byte)]) {
            Some(cut) => from += cut + 1,
            None => return true,
        }
    }
    false
}

/// Characters beside white space where a token's value cannot go on.
const QUOTES: &str = "\"'`,;<>()[]{}";

/// Which bytes of ASCII end a word.
const CUTS: [bool; 256] = {
    let mut cuts = [false; 256];
    let mut at = 0;
    while at < QUOTES.len() {
        cuts[QUOTES.as_bytes()[at] as usize] = true;
        at += 1;
    }
    // What `char::is_whitespace` says of ASCII: tab to carriage return, and the blank.
    let mut space = 0x09;
    while space <= 0x0d {
        cuts[space] = true;
        space += 1;
    }
    cuts[b' ' as usize] = true;
    cuts
};

/// The text cut where a token's value cannot go on: white space, quotes and the like. A value may stand after `key=`
/// or `Bearer `.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || QUOTES.contains(c))
        .filter(|word| word.len() >= VALUE_BYTES_MIN)
        .flat_map(|word| [Some(word), word.split_once('=').map(|(_, value)| value)])
        .flatten()
}

/// A token's value may be one part of an id or of a path; values in base64 hold slashes themselves.
fn known_word(word: &str) -> Option<&'static str> {
    word.split([':', '|', '&', '?', '@']).filter(|part| part.len() >= VALUE_BYTES_MIN).find_map(|part| {
        let whole = prefixed(part).or_else(|| opaque(part));
        whole.or_else(|| part.split('/').find_map(|part| prefixed(part).or_else(|| web_token(part))))
    })
}

fn prefixed(word: &str) -> Option<&'static str> {
    let value = |b: u8| b.is_ascii_alphanumeric() || b"-_./+=".contains(&b);
    let first = word.bytes().next()?;
    PREFIXES.iter().filter(|(prefix, ..)| prefix.as_bytes().first() == Some(&first)).find_map(
        |(prefix, least, kind)| {
            let rest = word.strip_prefix(prefix)?;
            (rest.bytes().take_while(|b| value(*b)).count() >= *least).then_some(*kind)
        },
    )
}

/// A JSON web token: three parts in base64url, the first of which encodes `{"`.
fn web_token(word: &str) -> Option<&'static str> {
    let parts: Vec<&str> = word.split('.').collect();
    let base64url = |part: &&str| {
        part.len() >= 8 && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_=".contains(&b))
    };
    (parts.len() == 3 && parts[0].starts_with("eyJ") && parts.iter().all(base64url))
        .then_some("a JSON web token")
}

/// Long values in base64 that no name has: an AWS secret key (40 characters with `/` or `+`), or 100 and more.
fn opaque(word: &str) -> Option<&'static str> {
    let bytes = word.as_bytes();
    if bytes.len() < 40 || !bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"+/=_-".contains(b)) {
        return None;
    }
    let has = |class: fn(&u8) -> bool| bytes.iter().filter(|b| class(b)).count();
    let (upper, lower, digits) =
        (has(u8::is_ascii_uppercase), has(u8::is_ascii_lowercase), has(u8::is_ascii_digit));
    let mixed = upper >= 5 && lower >= 5 && digits >= 3;
    // Of 40 random characters, one in a thousand has no digit, but every twentieth has fewer than three.
    let mixed_key = upper >= 8 && lower >= 5 && digits >= 1;
    // A path has short words between its slashes; a value in base64 has them at random.
    let slashes = has(|b| *b == b'/');
    match bytes.len() {
        40 if mixed_key && (slashes >= 1 || word.contains('+')) && slashes <= 4 && !word.starts_with('/') => {
            Some("an AWS secret access key")
        }
        100.. if mixed && slashes * 12 <= bytes.len() => Some("a long random value"),
        _ => None,
    }
}

fn embedded(text: &str) -> Option<&'static str> {
    // What follows asks for a colon or for dashes in a row, which few texts have; these are found many bytes at a time.
    let marked = text.bytes().fold(false, |found, byte| found | (byte == b':'));
    if !marked && !text.contains("-----") {
        return None;
    }
    if text.contains("-----BEGIN") && text.contains("PRIVATE KEY") {
        return Some("a private key");
    }
    let after_scheme = text.split_once("://")?.1;
    let authority = after_scheme.split(['/', '?', '#']).next()?;
    let (user_info, _) = authority.rsplit_once('@')?;
    user_info
        .split_once(':')
        .is_some_and(|(_, password)| !password.is_empty())
        .then_some("a password in a URL")
}

#[cfg(test)]
mod tests {
    use super::looks_like;

    #[test]
    fn values_of_tokens_are_seen() {
        for secret in [
            concat!("glp", "at-AbCdEfGhIjKlMnOpQrSt"),
            concat!("ghp", "_0123456789abcdefghijABCDEFGHIJ012345"),
            concat!("Bearer eyJ", "hbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dBjftJeZ4CVPmB92K27uhbUJU1p1r"),
            concat!("project-7:glp", "at-AbCdEfGhIjKlMnOpQrSt"),
            concat!("projects/7/ghp", "_0123456789abcdefghijABCDEFGHIJ012345"),
            concat!("token=xox", "b-123456789012-abcdefghijkl"),
            concat!("IQoJb3JpZ2lu", "X2VjEJr//////////wEaCXVzLWVhc3QtMSJHMEUCIQDx9fake+fake"),
            concat!("wJalrXUtnFEMI/K7MDENG/", "bPxRfiCYEXAMPLEKEY"),
            "-----BEGIN OPENSSH PRIVATE KEY-----",
            "https://deploy:hunter2@registry.example/v2",
            &"aB3dE5gH1jK".repeat(12),
        ] {
            assert!(looks_like(secret).is_some(), "{secret}");
        }
    }

    #[test]
    fn the_shortest_value_of_each_kind_is_seen_wherever_it_stands() {
        for (prefix, least, kind) in super::PREFIXES {
            let value = format!("{prefix}{}", "a1".repeat(*least).get(..*least).unwrap());
            for text in [
                value.clone(),
                format!("x={value}"),
                format!("a text ({value}) of words"),
                format!("tab\t{value}\u{b}x"),
                format!("caf\u{e9}\u{2003}{value}"),
                format!("a:b:{value}"),
            ] {
                assert_eq!(looks_like(&text), Some(*kind), "{prefix} in {text:?}");
            }
        }
        let web_token = concat!("eyJ", "aaaaa.bbbbbbbb.cccccccc");
        assert_eq!(web_token.len(), super::WEB_TOKEN_BYTES_MIN);
        assert!(looks_like(&format!("Bearer {web_token}")).is_some());
        assert!(looks_like("-----BEGIN PRIVATE KEY-----").is_some());
    }

    #[test]
    fn a_long_word_is_one_that_no_cut_interrupts() {
        let almost = "a".repeat(super::VALUE_BYTES_MIN - 1);
        for cut in super::QUOTES.chars().chain("\t\n\u{b}\u{c}\r ".chars()) {
            assert!(!super::has_long_word(&format!("{almost}{cut}{almost}")), "{cut:?}");
        }
        assert!(super::has_long_word(&format!("{almost}a")) && super::has_long_word("\u{2003}"));
    }

    #[test]
    fn names_are_not() {
        for name in [
            "glpat-bot",
            "arn:aws:iam::218007301253:policy/service-role/AWSLambdaBasicExecutionRole-0a1b2c3d",
            "218007301253:role:AWSServiceRoleForECS",
            "AKIAIOSFODNN7EXAMPLE",
            "ASIAIOSFODNN7EXAMPLE",
            "gitlab-org/security/products/analyzers/secret-detection/production-deploy-bot",
            "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "3b241101-e2bb-4255-8caf-4136c566a962",
            "https://gitlab.example/group/project",
            "rotated by the nightly job because it was older than 30 days",
        ] {
            assert_eq!(looks_like(name), None, "{name}");
        }
    }
}
