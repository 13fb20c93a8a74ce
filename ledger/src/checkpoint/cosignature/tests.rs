use super::*;
use crate::checkpoint::{Checkpoint, LocalSigner, PrivateKey, Signer as _, VerifierKey};
use crate::tree::TreeHead;
use crate::types::LedgerName;

/// A checkpoint of a staging log of Certificate Transparency with its cosignatures, and the key of one of the witnesses.
const ARCHE: &str = "arche2025h1.staging.ct.transparency.dev
1432088532
U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=

— arche2025h1.staging.ct.transparency.dev zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREPMHbdQ3urbllzalApkptQIgIpwtEroeW2BXaHAI4kJXFbon5Ch9MNL5zRNZ55lvGt0=
— arche2025h1.staging.ct.transparency.dev ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59RA23oHP7Ry1k3ZFWwQ=
— transparency.dev/DEV:witness-little-garden 2AQqhwAAAABqEiEgzgFIqqhbUoDwjMWE6UP8nd8/KYTzwZ2rhIgcqoXHAwVkjZr4AscylP3v7sEodkRAErumC2q44vdgJY096st5BQ==
— witness1.smartit.nu/witness1 pIyCDwAAAABqEiEghIp82KWebrw7/oHQwlTAm3g2RKS4+eebl8eO0WH+/iEcxZ75W3u5hNI7TOQtmJbqmNWVuE0tgh0XwzdZsDsUAQ==
— remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==
— witness.stagemole.eu Z/euoAAAAABqEiEgw0i+7g2ENfDAWHmtRzCfKTHSDwYDJA2NmKeGi9Y8FtEyOUvVr+AJmIY/2TUFucgKi7lI7cUiOvKFYe/TmN9DAg==
";
const ARCHE_KEY: &str =
    "arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f";
const REMORA: &str = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2";
/// The signature of which the tests of transparency-dev's `formats` read the time, and what they read.
const TIMED: &str = "ZGhGuQAAAABm/qTPeyKXD+R2rzyQsxPiP8mXum7qq/iF0u4vanlqJyocWODBt97w9uL+8qT7S5gxEHWWOworDcFiEBYJXORmnFBOBA==";
const TIMED_SECONDS: u64 = 1_727_964_367;
const NOW: u64 = 1_726_012_800;

fn secret(seed: u8) -> CosignerSecret {
    CosignerSecret::new("witness.example.org/w1".parse().unwrap(), &[seed; 32])
}

fn log() -> PrivateKey {
    PrivateKey::new("ledger.example.org".parse().unwrap(), &[1; 32])
}

fn note() -> Vec<u8> {
    let tree = TreeHead { size: 7, root: [3; 32] };
    LocalSigner::new(&log(), &LedgerName::default(), None).sign(tree, &[]).unwrap()
}

fn text() -> Vec<u8> {
    let origin = "ledger.example.org/default".to_owned();
    Checkpoint { origin, tree: TreeHead { size: 7, root: [3; 32] } }.text().into_bytes()
}

#[test]
fn published_cosignatures_hold_and_say_when_they_were_made() {
    let remora: CosignerKey = REMORA.parse().unwrap();
    assert_eq!((remora.to_string().as_str(), remora.name()), (REMORA, "remora.n621.de"));
    let cosigned = remora.cosigned(ARCHE.as_bytes()).unwrap();
    assert_eq!(cosigned.seconds, 1_779_573_024);
    let line = ARCHE.lines().find(|line| line.contains("remora")).unwrap();
    assert_eq!(String::from_utf8(cosigned.line).unwrap(), format!("{line}\n"));
    let log: VerifierKey = ARCHE_KEY.parse().unwrap();
    assert_eq!(log.open(ARCHE.as_bytes()).unwrap().tree.size, 1_432_088_532);
    for changed in [
        ARCHE.replace("1432088532", "1432088533"),
        ARCHE.replace("U7WM", "U7WN"),
        ARCHE.replace("remora.n621.de 2net5wAAAABqEiEg", "remora.n621.de 2net5wAAAABqEiEh"),
        ARCHE.replace("— remora.n621.de", "— remora.n621.dd"),
    ] {
        assert!(
            matches!(remora.cosigned(changed.as_bytes()), Err(CheckpointError::Unsigned(_))),
            "{changed}"
        );
    }

    let timed = Signature::from_bytes(format!("— x {TIMED}").as_bytes()).unwrap();
    assert_eq!(parts(timed.signature()).unwrap().0, TIMED_SECONDS);
    // An ordinary signature has no time.
    let plain =
        "eQjRQm6eSKzFoiYalgwCPXu2y3ijtg68is9M46JKxuZB+dRfTmeQeDBoXnvxZx2ugnkyV+MUMLXpWs1hPb/W/4xkNQY=";
    assert!(parts(Signature::from_bytes(format!("— x {plain}").as_bytes()).unwrap().signature()).is_none());
}

#[test]
fn a_cosignature_is_over_the_header_the_time_and_the_text() {
    // Put together by hand, from the specification.
    let by_hand = format!(
        "cosignature/v1\ntime {NOW}\nledger.example.org/default\n7\nAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=\n"
    );
    let line = String::from_utf8(secret(9).cosign(&text(), NOW).unwrap()).unwrap();
    let signature = Signature::from_bytes(line.trim_end().as_bytes()).unwrap();
    assert_eq!(signature.name(), "witness.example.org/w1");
    let (seconds, ed25519) = signature.signature().split_at(8);
    assert_eq!(seconds, NOW.to_be_bytes());
    let key = SigningKey::from_bytes(&[9; 32]);
    assert_eq!(ed25519, key.sign(by_hand.as_bytes()).to_bytes());
    let hashed = [b"witness.example.org/w1\n\x04", &key.verifying_key().to_bytes()[..]].concat();
    let hash = <sha2::Sha256 as sha2::Digest>::digest(hashed);
    assert_eq!(signature.id().to_be_bytes(), hash[..4]);
}

#[test]
fn a_note_is_cosigned_for_the_key_that_did_it_and_for_no_other() {
    let (note, line) = (note(), secret(9).cosign(&text(), NOW).unwrap());
    let (key, other) = (secret(9).public(), secret(8).public());
    let unsigned = |result| matches!(result, Err(CheckpointError::Unsigned(_)));
    assert!(unsigned(key.cosigned(&note)));
    let cosigned = [&note[..], &line].concat();
    assert_eq!(key.cosigned(&cosigned), Ok(Cosignature { seconds: NOW, line: line.clone() }));
    assert!(unsigned(other.cosigned(&cosigned)));
    assert_eq!(
        log().verifier(&LedgerName::default()).open(&cosigned).unwrap().tree.size,
        7,
        "for the log's key it is the same note"
    );
    // An answer of lines; those of others are passed over.
    let others = secret(8).cosign(&text(), NOW).unwrap();
    let lines = [&others[..], &line].concat();
    assert_eq!(key.among(&note, &lines).unwrap().line, line);
    assert_eq!(other.among(&note, &lines).unwrap().line, others);
    assert!(unsigned(key.among(&note, &others)));
    let rest = [&lines[..], b"\nx\n"].concat();
    for bad in [&b""[..], b"\n", b"x\n", &line[..line.len() - 1], &rest] {
        assert!(key.among(&note, bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
    }
    // The lines cannot bring a text of their own along, not even one that is cosigned.
    let longer = [&text()[..], b"\nmore\n"].concat();
    let smuggled = [b"more\n\n".as_slice(), &secret(9).cosign(&longer, NOW).unwrap()].concat();
    assert!(matches!(key.among(&note, &smuggled), Err(CheckpointError::Malformed(_))));
    assert!(key.cosigned(&[&longer[..], b"\n", &secret(9).cosign(&longer, NOW).unwrap()].concat()).is_ok());
}

#[test]
fn no_bit_of_a_cosigned_note_can_be_changed() {
    let (note, line) = (note(), secret(9).cosign(&text(), NOW).unwrap());
    let (key, cosigned) = (secret(9).public(), [&note[..], &line].concat());
    for bit in 0..cosigned.len() * 8 {
        let mut flipped = cosigned.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let in_log_line = (text().len()..note.len()).contains(&(bit / 8));
        assert!(key.cosigned(&flipped).is_err() || in_log_line, "bit {bit}");
    }
    // Nor does the signature of a checkpoint pass for a cosignature, or one time for another.
    let late = secret(9).cosign(&text(), NOW + 1).unwrap();
    assert_ne!(late, line);
    assert!(secret(9).cosign(&text(), TIME_MAX).is_ok());
    assert!(secret(9).cosign(&text(), TIME_MAX + 1).is_err());
    assert!(parts(&[&u64::MAX.to_be_bytes()[..], &[0; 64]].concat()).is_none());
    assert!(parts(&[0; 71]).is_none() && parts(&[0; 73]).is_none() && parts(&[]).is_none());
}

#[test]
fn a_witness_key_is_one_line_and_no_other_line_is_the_same_key() {
    let (public, line) = (secret(9).public().to_string(), secret(9).to_secret_line());
    assert_eq!(CosignerSecret::from_secret_line(&line).unwrap().to_secret_line(), line);
    assert_eq!(public.parse::<CosignerKey>().unwrap(), secret(9).public());
    for at in 0..line.len() {
        for other in ["", "A", "+", "0", "F", " ", "\n", "="] {
            let changed = [&line[..at], other, &line[at + 1..]].concat();
            let read = CosignerSecret::from_secret_line(&changed);
            assert!(changed == line || read.is_err(), "{changed}");
            let told = read.map_or_else(|error| error.to_string(), |key| format!("{key:?}"));
            assert!(!told.contains("CQkJ"), "{told}");
        }
    }
    for at in 0..public.len() {
        for other in ["", "A", "+", "0", "F", " ", "\n", "="] {
            let changed = [&public[..at], other, &public[at + 1..]].concat();
            assert!(changed == public || changed.parse::<CosignerKey>().is_err(), "{changed}");
        }
    }
}

#[test]
fn the_keys_of_logs_and_of_witnesses_cannot_be_confused() {
    let (log_secret, log_public) =
        (log().to_secret_line(), log().verifier(&LedgerName::default()).to_string());
    assert!(CosignerSecret::from_secret_line(&log_secret).is_err());
    assert!(log_public.parse::<CosignerKey>().is_err());
    assert!(PrivateKey::from_secret_line(&secret(9).to_secret_line()).is_err());
    assert!(secret(9).public().to_string().parse::<VerifierKey>().is_err());
}
