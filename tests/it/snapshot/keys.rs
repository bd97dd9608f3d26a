//! Snapshots that are encrypted with age or signed with minisign.

use std::fs;
use std::io::Cursor;

use age::secrecy::ExposeSecret;
use age::x25519::Identity;
use bootstrapper::exit::Exit;
use bootstrapper::snapshot::decode::identities;
use minisign::KeyPair;
use plan::spec::Secret;

use super::super::support::fixture::{gzip, sha256, snapshot, zstd};
use super::super::support::store::{End, Reply, Store};
use super::{ETAG, Fetch};

fn encrypted(bytes: &[u8], to: &Identity) -> Vec<u8> {
    age::encrypt(&to.to_public(), bytes).unwrap()
}

#[tokio::test]
async fn an_encrypted_snapshot_is_decrypted_while_it_comes_and_goes_on_where_it_was_cut() {
    let (ours, other) = (Identity::generate(), Identity::generate());
    for (name, object) in [
        ("plain inside", encrypted(snapshot(), &ours)),
        ("zstd inside", encrypted(&zstd(snapshot()), &ours)),
        ("gzip outside", gzip(&encrypted(&zstd(snapshot()), &ours))),
    ] {
        let served = object.clone();
        let store = Store::serve(move |n, asked| {
            let reply = Reply::honest(&served, ETAG, asked);
            if n == 0 { reply.ending(End::Cut(served.len() / 2)) } else { reply }
        })
        .await;
        let identities = vec![other.clone(), ours.clone()];
        let fetch = Fetch { sha256: sha256(&object).parse().unwrap(), identities, ..Fetch::from(&store) };
        let summary = fetch.run().await.result.unwrap_or_else(|e| panic!("{name}: {e:#}"));
        assert_eq!((summary.object_bytes, summary.bytes), (object.len() as u64, snapshot().len() as u64), "{name}");
        assert_eq!(fs::read(fetch.shelf().path()).unwrap(), snapshot(), "{name}");
        assert!(store.asked().last().unwrap().from.is_some(), "{name}");
    }
}

#[tokio::test]
async fn what_cannot_be_decrypted_is_refused_by_its_reason_and_asked_for_once() {
    let (ours, other) = (Identity::generate(), Identity::generate());
    let whole = encrypted(&zstd(snapshot()), &ours);
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    let recipient = age::scrypt::Recipient::new("passphrase".to_owned().into());
    let scrypt = age::encrypt(&recipient, &zstd(snapshot())).unwrap();
    // By whole chunks of 64 KiB, so that only the mark of the last one is missing.
    let cut = encrypted(snapshot(), &ours)[..whole.len() - 700].to_vec();
    for (name, object, with, why, requests) in [
        ("no identity", whole.clone(), None, "no identity is given here: write `restore.age_identity`", 1),
        ("another identity", whole.clone(), Some(&other), "for none of the identities that are given here", 1),
        ("a passphrase", scrypt, Some(&ours), "with a passphrase, which nobody could type at boot", 1),
        ("flipped", flipped, Some(&ours), "it is damaged or was cut", 2),
        ("cut", cut, Some(&ours), "it is damaged or was cut", 2),
    ] {
        let pinned = sha256(&object).parse().unwrap();
        let store = Store::serve(move |_, asked| Reply::honest(&object, ETAG, asked)).await;
        let identities = with.into_iter().cloned().collect();
        let outcome = Fetch { sha256: pinned, identities, ..Fetch::from(&store) }.run().await;
        let error = outcome.result.expect_err(name);
        assert!(format!("{error:#}").contains(why), "{name}: {error:#}");
        assert_eq!((Exit::of(&error), outcome.files), (Exit::BadInput, Vec::new()), "{name}");
        assert_eq!(store.asked().len(), requests, "{name}");
    }
}

#[test]
fn a_file_of_identities_is_read_as_age_keygen_writes_it_and_never_quoted() {
    let secret = Identity::generate().to_string();
    let secret = secret.expose_secret();
    let read = |text: String| identities(&Secret::new(text)).map(|found| found.len()).map_err(|e| e.to_string());
    assert_eq!(read(format!("# created: today\n# public key: age1…\n{secret}\n\n{secret}\r\n")), Ok(2));
    for (text, why) in [
        (String::new(), "there is no age identity in it"),
        (format!("{secret}\nCANARY"), "line 2 is no age identity"),
        (secret.replace("KEY-1", "KEY-1CANARY"), "line 1 is no age identity"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(why) && !error.contains("CANARY") && !error.contains(&secret[20..]), "{error}");
    }
}

fn signed(bytes: &[u8], pair: &KeyPair) -> Vec<u8> {
    let signature = minisign::sign(Some(&pair.pk), &pair.sk, Cursor::new(bytes), Some("by the tests"), None).unwrap();
    signature.to_string().into_bytes()
}

/// What lies at a source, by the end of its name: the signature of one object or another, or none.
#[tokio::test]
async fn a_snapshot_that_must_be_signed_is_restored_only_with_a_signature_of_that_key_over_that_object() {
    let (ours, other) =
        (KeyPair::generate_unencrypted_keypair().unwrap(), KeyPair::generate_unencrypted_keypair().unwrap());
    let object = zstd(snapshot());
    let good = signed(&object, &ours);
    let mut flipped = object.clone();
    flipped.pop();
    for (name, signature, expected) in [
        ("good", Some(good.clone()), Ok(())),
        ("none", None, Err((Exit::Unavailable, "it must be signed, and https://localhost"))),
        ("of another key", Some(signed(&object, &other)), Err((Exit::BadInput, "was made with another key"))),
        ("of another object", Some(signed(snapshot(), &ours)), Err((Exit::BadInput, "it is not what was signed"))),
        ("of a part of it", Some(signed(&flipped, &ours)), Err((Exit::BadInput, "it is not what was signed"))),
        ("no signature", Some(b"<html>".to_vec()), Err((Exit::BadInput, "is no signature of minisign"))),
        ("far too large", Some(vec![b'x'; 100_000]), Err((Exit::Unavailable, "it has more than 8192 bytes"))),
    ] {
        let served = object.clone();
        let store = Store::serve(move |_, asked| match (asked.path.ends_with(".minisig"), &signature) {
            (true, Some(signature)) => Reply::new(200, signature.clone()),
            (true, None) => Reply::new(404, ""),
            (false, _) => Reply::honest(&served, ETAG, asked),
        })
        .await;
        let signer = Some(ours.pk.to_base64());
        let fetch = Fetch { sha256: sha256(&object).parse().unwrap(), signer, ..Fetch::from(&store) };
        let outcome = fetch.run().await;
        match (outcome.result, expected) {
            (Ok(summary), Ok(())) => {
                assert_eq!(summary.bytes, snapshot().len() as u64, "{name}");
                assert_eq!(fs::read(fetch.shelf().signature()).unwrap(), good, "{name}");
            }
            (Err(error), Err((exit, why))) => {
                assert!(format!("{error:#}").contains(why), "{name}: {error:#}");
                assert_eq!((Exit::of(&error), outcome.files), (exit, Vec::new()), "{name}");
            }
            (found, _) => panic!("{name}: {:?}", found.map_err(|e| format!("{e:#}"))),
        }
    }
}

/// The signature is checked over what is resumed as well, and over a plain snapshot.
#[tokio::test]
async fn a_signature_holds_over_a_download_in_pieces() {
    let pair = KeyPair::generate_unencrypted_keypair().unwrap();
    let signature = signed(snapshot(), &pair);
    let store = Store::serve(move |n, asked| match asked.path.ends_with(".minisig") {
        true => Reply::new(200, signature.clone()),
        false if n == 1 => Reply::honest(snapshot(), ETAG, asked).ending(End::Cut(2_000_000)),
        false if n == 2 => Reply::new(403, "expired"),
        false => Reply::honest(snapshot(), ETAG, asked),
    })
    .await;
    let fetch = Fetch { signer: Some(pair.pk.to_base64()), ..Fetch::from(&store) };
    assert_eq!(Exit::of(&fetch.run().await.result.unwrap_err()), Exit::Unavailable);
    fetch.run().await.result.unwrap();
    assert_eq!(fs::read(fetch.shelf().path()).unwrap(), snapshot());
    assert!(store.asked().last().unwrap().from.is_some());
}
