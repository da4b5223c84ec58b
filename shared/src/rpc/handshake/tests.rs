//! Both sides with each other, and with strangers.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use proptest::prelude::*;

use super::transcript::WRONG_TOKEN;
use super::*;
use crate::rpc::{Bytes, CallId, Challenge, Frame, Hello, Ping, Pong, Proof, Refuse, VersionRange};
use crate::token::Tokens;

fn tokens(list: &[&str]) -> Arc<Tokens> {
    Arc::new(Tokens::new(&list.iter().map(|token| (*token).to_owned()).collect::<Vec<_>>()))
}

fn worker(list: &[&str], legacy: LegacyToken) -> WorkerHandshake {
    WorkerHandshake::new(tokens(list), legacy, Hello::worker("w", 7))
}

/// Lets the two talk; what each comes to.
fn meet(
    gateway: &[&str],
    worker_tokens: &[&str],
) -> (Result<Hello, HandshakeError>, Result<AdmittedGateway, HandshakeError>) {
    let (mut gateway, mut frame) = GatewayHandshake::new(tokens(gateway), "g", 1 << 20).unwrap();
    let mut worker = worker(worker_tokens, LegacyToken::Refuse);
    for _ in 0..4 {
        let (answer, admitted) = match worker.receive(frame) {
            Ok(WorkerStep::Send(answer)) => (answer, None),
            Ok(WorkerStep::Welcome(answer, gateway)) => (answer, Some(Ok(gateway))),
            Ok(WorkerStep::Refuse(answer, error)) => (answer, Some(Err(error))),
            Err(error) => return (Err(HandshakeError::Protocol("hung up")), Err(error)),
        };
        match gateway.receive(answer) {
            Ok(GatewayStep::Send(next)) => frame = next,
            Ok(GatewayStep::Connected(hello)) => return (Ok(hello), admitted.unwrap()),
            Err(error) => return (Err(error), admitted.unwrap_or(Err(HandshakeError::Protocol("hung up")))),
        }
    }
    panic!("they talk for ever")
}

#[test]
fn who_has_a_token_in_common_comes_together_and_nobody_else() {
    for (gateway, worker, comes) in [
        (&[][..], &[][..], true),
        (&["a"], &["a"], true),
        (&["old"], &["new", "old"], true),
        (&["new", "old"], &["old"], true),
        (&["a"], &["b"], false),
        (&["a"], &[], false),
        (&[], &["a"], false),
    ] {
        let (there, here) = meet(gateway, worker);
        assert_eq!(there.is_ok(), comes, "{gateway:?} {worker:?} {there:?}");
        assert!(!comes || (there.unwrap().capacity == 7 && here.unwrap().id == "g"));
    }
    let (there, here) = meet(&["a"], &["b"]);
    assert!(there.unwrap_err().to_string().contains(WRONG_TOKEN) && here.unwrap_err().to_string().contains("g: wrong"));
    assert!(meet(&[], &["a"]).0.unwrap_err().to_string().contains("the gateway has none"));
    // A worker of the first version says no at once.
    let (mut gateway, _) = GatewayHandshake::new(tokens(&["a"]), "g", 1 << 20).unwrap();
    let told = gateway.receive(Frame::Refuse(Refuse { reason: WRONG_TOKEN.to_owned() })).unwrap_err();
    assert!(told.to_string().contains("Update workers before gateways"), "{told}");
    assert!(matches!(meet(&["a"], &[]).0, Err(HandshakeError::Unproved(_))));
}

#[test]
fn no_frame_of_the_hello_has_the_token_in_it() {
    let secret = "a-token-that-must-not-be-seen";
    let (mut gateway, hello) = GatewayHandshake::new(tokens(&[secret]), "g", 1 << 20).unwrap();
    let mut worker = worker(&[secret], LegacyToken::Accept);
    let mut bytes = Vec::new();
    crate::rpc::encode(&hello, &mut bytes).unwrap();
    let Ok(WorkerStep::Send(challenge)) = worker.receive(hello) else { panic!() };
    crate::rpc::encode(&challenge, &mut bytes).unwrap();
    let Ok(GatewayStep::Send(proof)) = gateway.receive(challenge) else { panic!() };
    crate::rpc::encode(&proof, &mut bytes).unwrap();
    let Ok(WorkerStep::Welcome(hello, _)) = worker.receive(proof) else { panic!() };
    crate::rpc::encode(&hello, &mut bytes).unwrap();
    assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
    assert!(bytes.len() < 1000, "{} bytes", bytes.len());
}

#[test]
fn a_recorded_exchange_is_worth_nothing() {
    // The frames of a good exchange.
    let (mut gateway, hello) = GatewayHandshake::new(tokens(&["a"]), "g", 1 << 20).unwrap();
    let mut first = worker(&["a"], LegacyToken::Refuse);
    let Ok(WorkerStep::Send(challenge)) = first.receive(hello.clone()) else { panic!() };
    let Ok(GatewayStep::Send(proof)) = gateway.receive(challenge.clone()) else { panic!() };
    let Ok(WorkerStep::Welcome(welcome, _)) = first.receive(proof.clone()) else { panic!() };
    // To a worker,
    let mut second = worker(&["a"], LegacyToken::Refuse);
    assert!(matches!(second.receive(hello), Ok(WorkerStep::Send(Frame::Challenge(_)))));
    assert!(matches!(second.receive(proof.clone()), Ok(WorkerStep::Refuse(..))));
    // and to a gateway.
    let (mut other, _) = GatewayHandshake::new(tokens(&["a"]), "g", 1 << 20).unwrap();
    assert!(matches!(other.receive(challenge.clone()), Ok(GatewayStep::Send(_))));
    assert!(matches!(other.receive(welcome), Err(HandshakeError::Unproved(_))));
    // Nor is a gateway's own proof a worker's.
    let (mut third, _) = GatewayHandshake::new(tokens(&["a"]), "g", 1 << 20).unwrap();
    let Ok(GatewayStep::Send(Frame::Proof(own))) = third.receive(challenge) else { panic!() };
    let back = Hello { id: "w".to_owned(), proof: own.macs.into_iter().next(), ..Hello::default() };
    assert!(matches!(third.receive(Frame::Hello(back)), Err(HandshakeError::Unproved(_))));
}

#[test]
fn an_older_gateway_is_let_in_only_while_that_is_set_and_with_the_right_token() {
    let old = |token: Option<&str>| {
        let versions = VersionRange { min: 1, max: 1 };
        Frame::Hello(Hello { versions, id: "old".to_owned(), token: token.map(str::to_owned), ..Hello::default() })
    };
    for (list, legacy, token, comes) in [
        (&["a", "b"][..], LegacyToken::Accept, Some("b"), true),
        (&["a"], LegacyToken::Accept, Some("b"), false),
        (&["a"], LegacyToken::Accept, None, false),
        (&["a"], LegacyToken::Refuse, Some("a"), false),
        (&[], LegacyToken::Refuse, None, true),
    ] {
        let step = worker(list, legacy).receive(old(token)).unwrap();
        assert_eq!(matches!(&step, WorkerStep::Welcome(..)), comes, "{list:?} {legacy:?} {token:?} {step:?}");
    }
    // A gateway that knows better cannot be talked into it.
    let new = Frame::Hello(Hello { token: Some("a".to_owned()), ..Hello::default() });
    assert!(matches!(worker(&["a"], LegacyToken::Accept).receive(new), Ok(WorkerStep::Refuse(..))));
}

/// What a stranger may say, in any order: he knows what was said in the open and has no token.
#[derive(Debug, Clone)]
enum Forged {
    Hello { min: u16, max: u16, token: Option<String>, nonce: Option<Vec<u8>>, proof: Option<Vec<u8>> },
    Challenge { min: u16, max: u16, nonce: Vec<u8> },
    Proof(Vec<Vec<u8>>),
    Refuse,
    Other(u8),
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![proptest::collection::vec(any::<u8>(), 0..40), proptest::collection::vec(any::<u8>(), 32)]
}

fn forged() -> impl Strategy<Value = Forged> {
    let token = proptest::option::of(prop_oneof![Just("stolen".to_owned()), Just(String::new())]);
    prop_oneof![
        4 => (0..4u16, 0..4u16, token, proptest::option::of(bytes()), proptest::option::of(bytes()))
            .prop_map(|(min, max, token, nonce, proof)| Forged::Hello { min, max, token, nonce, proof }),
        3 => (0..4u16, 0..4u16, bytes()).prop_map(|(min, max, nonce)| Forged::Challenge { min, max, nonce }),
        3 => proptest::collection::vec(bytes(), 0..7).prop_map(Forged::Proof),
        1 => Just(Forged::Refuse),
        2 => any::<u8>().prop_map(Forged::Other),
    ]
}

impl Forged {
    fn frame(&self) -> Frame<'static> {
        match self.clone() {
            Self::Hello { min, max, token, nonce, proof } => Frame::Hello(Hello {
                versions: VersionRange { min, max },
                token,
                id: "w".to_owned(),
                nonce: nonce.map(Bytes::from),
                proof: proof.map(Bytes::from),
                ..Hello::default()
            }),
            Self::Challenge { min, max, nonce } => Frame::Challenge(Challenge {
                versions: VersionRange { min, max },
                id: "w".to_owned(),
                nonce: Bytes::from(nonce),
            }),
            Self::Proof(macs) => Frame::Proof(Proof { macs: macs.into_iter().map(Bytes::from).collect() }),
            Self::Refuse => Frame::Refuse(Refuse { reason: "x".repeat(10_000) }),
            Self::Other(0..80) => Frame::Busy(CallId { id: 1 }),
            Self::Other(80..160) => Frame::Ping(Ping::default()),
            Self::Other(160..200) => Frame::Pong(Pong::default()),
            Self::Other(tag) => Frame::Unknown(tag),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn whatever_a_stranger_says_neither_side_takes_him_in(
        frames in proptest::collection::vec(forged(), 0..12),
        legacy in any::<bool>(),
    ) {
        let legacy = if legacy { LegacyToken::Accept } else { LegacyToken::Refuse };
        let mut worker = worker(&["secret", "older"], legacy);
        let (mut gateway, _) = GatewayHandshake::new(tokens(&["secret"]), "g", 1 << 20).unwrap();
        let (mut sent, mut ended) = (0, false);
        for forged in &frames {
            match worker.receive(forged.frame()) {
                Ok(WorkerStep::Welcome(..)) => prop_assert!(false, "let in after {frames:?}"),
                Ok(step) => {
                    prop_assert!(!ended, "it goes on after its end");
                    ended |= matches!(step, WorkerStep::Refuse(..));
                }
                Err(_) => ended = true,
            }
            match gateway.receive(forged.frame()) {
                Ok(GatewayStep::Connected(_)) => prop_assert!(false, "connected after {frames:?}"),
                Ok(GatewayStep::Send(_)) => sent += 1,
                Err(_) => {}
            }
        }
        prop_assert!(sent <= 1, "a gateway says one thing more");
    }
}
