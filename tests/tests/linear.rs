//! Reading is linear in bytes, whatever a client sends: messages are generated as a part that is repeated, and twice as
//! many of it may take at most two and a half times as long.

use std::hint::black_box;
use std::time::Duration;

use diffyne_gateway::internals::{Caller, CookieStore, EventSubscription, Grants, SubscriptionIndex};
use diffyne_gateway::socket::{Decoder, DecoderLimits};
use diffyne_shared::envelope::{self, DataHead};
use diffyne_shared::rpc::FrameReader;
use nix::time::ClockId;

/// Bytes of the smaller of two messages: large enough to be timed, small enough for many.
const BYTES: usize = 96 * 1024;
/// Time for twice as much.
const RATIO_MAX: f64 = 2.5;
/// Below this a time is noise.
const NOISE: Duration = Duration::from_millis(1);
/// Messages that are generated for each reader.
const MESSAGES: usize = 60;
/// Messages for a reader that looks at frames and not at what is in them.
const PAYLOADS: usize = 15;
/// The reader that takes longest.
const BYTE_BY_BYTE: &str = "WebSocket frames, byte by byte";
/// The reader of what workers send.
const RELAY_FRAMES: &str = "relay frames";

/// A message by its parts; `{i}` in the middle is the number of the repetition.
#[derive(Debug, Clone)]
struct Template {
    start: String,
    middle: String,
    end: String,
}

impl Template {
    fn of(&self, bytes: usize) -> String {
        let mut out = self.start.clone();
        let mut index = 0;
        while out.len() + self.end.len() < bytes {
            out.push_str(&self.middle.replace("{i}", &index.to_string()));
            index += 1;
        }
        out.push_str(&self.end);
        out
    }
}

/// Templates that are likely to hurt, and random ones from the same words.
fn templates(random: &mut fastrand::Rng) -> Vec<Template> {
    let template = |start: &str, middle: &str, end: &str| Template {
        start: start.to_owned(),
        middle: middle.to_owned(),
        end: end.to_owned(),
    };
    let mut all = vec![
        template("{", r#""k{i}":1,"#, r#""z":1}"#),
        template("{", r#""k{i}":{"event":1},"#, r#""event":"x","data":{}}"#),
        template(r#"{"event":"diffyne.call","data":{"#, r#""k{i}":[],"#, r#""z":1}}"#),
        template(r#"{"event":"diffyne.call","data":{"#, r#""method":"{i}","#, r#""z":1}}"#),
        template(r#"{"event":"diffyne.call","data":{"cause":"#, "[", ""),
        template(r#"{"event":"diffyne.call","data":"#, "[", "]"),
        template(r#"{"event":""#, r"\u0061", r#"","data":{}}"#),
        template(
            r#"{"event":"diffyne.subscribe","data":{"events":["#,
            r#"{"name":"e{i}","match":{"a":{i}}},"#,
            r#"{"name":"z"}]}}"#,
        ),
        template(r#"{"event":"a","data":{"requestId":""#, r#"\""#, r#""}}"#),
        template("[", "{i},", "1]"),
        template("[", "[1],", "1]"),
        template("", " ", "{}"),
        template(r#"{"event":"a","data":"#, "1e9", "}"),
    ];
    let words = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\\u00e4",
        "\\ud800",
        "1",
        "-0",
        "1e308",
        "null",
        "true",
        " ",
        "\n",
        "\"event\":",
        "\"data\":",
        "\"events\":[",
        "\"name\":\"e{i}\"",
        "\"match\":{",
        "\"k{i}\":",
        "\"diffyne.call\"",
        "\"componentId\":\"c\"",
        "{i}",
        "ä",
        "; ",
        "=",
        "a{i}=b",
        ".",
        "%41",
    ];
    let text = |random: &mut fastrand::Rng, most: usize| -> String {
        (0..random.usize(..=most)).map(|_| words[random.usize(..words.len())]).collect()
    };
    while all.len() < MESSAGES {
        let (start, end) = (text(random, 6), text(random, 4));
        let middle = text(random, 4);
        if !middle.is_empty() {
            all.push(Template { start, middle, end });
        }
    }
    all
}

type Read = fn(&str);

/// Everything that reads what a client, a worker or Redis sends to a gateway, beside HTTP's own.
fn readers() -> Vec<(&'static str, Read)> {
    fn decode(text: &str, chunk: usize) {
        let mut frames = Vec::new();
        for (index, part) in text.as_bytes().chunks(100).enumerate() {
            // Every other one goes on with a message, pings come between.
            frames.extend_from_slice(&[[0x02, 0x89, 0x80][index % 3], 0x80 | part.len() as u8, 0, 0, 0, 0]);
            frames.extend_from_slice(part);
        }
        let mut decoder = Decoder::new(DecoderLimits { message_bytes_max: 64 << 20, binary: true, inflates: false });
        for part in frames.chunks(chunk) {
            let (mut part, mut used) = (part.to_vec(), 0);
            while let Ok(Some(event)) = decoder.next(&mut part, &mut used) {
                black_box(&event);
            }
        }
    }
    vec![
        ("an envelope", |text| {
            let _ = black_box(envelope::parse(text));
        }),
        ("a call in its usual form", |text| {
            let whole = format!(r#"{{"event":"diffyne.call","data":{text}}}"#);
            black_box(envelope::parse_canonical(&whole).is_some());
        }),
        ("the head of a message", |text| {
            let head = DataHead::read(text);
            let _ = black_box(head.check_lengths());
        }),
        ("events and their filters", |text| {
            let events = text.find('[').map_or(text, |at| &text[at..]);
            let events = events.strip_suffix("}}").unwrap_or(events);
            let events: Vec<EventSubscription> = serde_json::from_str(events).unwrap_or_default();
            let mut subscribers = SubscriptionIndex::default();
            for event in events.iter().take(100) {
                black_box(subscribers.add(1, &event.filter, 100, || 0));
            }
        }),
        ("WebSocket frames, whole reads", |text| decode(text, 64 * 1024)),
        (BYTE_BY_BYTE, |text| decode(text, 1)),
        ("WebSocket fragments", |text| {
            let mut frames = vec![0x02, 0x80, 0, 0, 0, 0];
            for byte in text.bytes() {
                frames.extend_from_slice(&[0x00, 0x81, 0, 0, 0, 0, byte]);
            }
            let mut decoder =
                Decoder::new(DecoderLimits { message_bytes_max: 64 << 20, binary: true, inflates: false });
            let mut used = 0;
            while let Ok(Some(event)) = decoder.next(&mut frames, &mut used) {
                black_box(&event);
            }
        }),
        ("a grant, and the session of its cookies", |text| {
            let grants = Grants::new(&[b"key".to_vec()], &[], Duration::from_mins(1));
            let headers = format!("cookie: {}\n", text.replace('\n', " "));
            let caller = Caller::new("", "", headers.as_bytes(), CookieStore::default());
            let _ = black_box(grants.verify(text, &[], &grants.session(&caller)));
        }),
        ("set cookies", |text| {
            let cookies = CookieStore::default();
            cookies.store(&[text.to_owned()]);
            cookies.store(&text.split(';').take(1000).map(str::to_owned).collect::<Vec<_>>());
        }),
        (RELAY_FRAMES, |text| {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            let Ok(runtime) = runtime else { return };
            runtime.block_on(async {
                let mut reader = FrameReader::new(1 << 20);
                let mut framed = Vec::new();
                for part in text.as_bytes().chunks(100) {
                    framed.extend_from_slice(&(part.len() as u32).to_be_bytes());
                    framed.extend_from_slice(part);
                }
                let mut bytes = framed.as_slice();
                while reader.fill(&mut bytes).await.is_ok_and(|read| read > 0) {
                    loop {
                        match reader.next_frame() {
                            Ok(Some(frame)) => drop(black_box(frame)),
                            Ok(None) => break,
                            Err(_) => {}
                        }
                    }
                }
            });
        }),
    ]
}

/// CPU time of this thread: what else the machine runs does not count.
fn cpu() -> Duration {
    ClockId::CLOCK_THREAD_CPUTIME_ID.now().map(Duration::from).unwrap_or_default()
}

/// The shortest of several runs of each, in turn: what else the machine does only makes one longer.
fn times(read: Read, once: &str, twice: &str, runs: usize) -> (Duration, Duration) {
    let time = |text| {
        let before = cpu();
        read(text);
        cpu().saturating_sub(before)
    };
    let pairs = (0..runs).map(|_| (time(once), time(twice)));
    pairs.fold((Duration::MAX, Duration::MAX), |least, (short, long)| (least.0.min(short), least.1.min(long)))
}

/// Checks the readers of one kind. Each kind is a test of its own, so that none takes minutes.
fn check_readers(is_of_kind: impl Fn(&str) -> bool) {
    let mut random = fastrand::Rng::with_seed(16);
    let templates = templates(&mut random);
    let mut slow = Vec::new();
    for (name, read) in readers().into_iter().filter(|(name, _)| is_of_kind(name)) {
        let count = if name.starts_with("WebSocket") { PAYLOADS } else { MESSAGES };
        for template in templates.iter().take(count) {
            let (once, twice) = (template.of(BYTES), template.of(2 * BYTES));
            let is_slow = |runs| {
                let (short, long) = times(read, &once, &twice, runs);
                (long > NOISE && long.as_secs_f64() > RATIO_MAX * short.as_secs_f64()).then_some((short, long))
            };
            // A first look is quick; what seems slow is looked at longer.
            if is_slow(2).is_some()
                && let Some((short, long)) = is_slow(40)
            {
                slow.push(format!("{name}: {short:?} -> {long:?} for {template:?}"));
            }
        }
    }
    assert!(slow.is_empty(), "{}", slow.join("\n"));
}

#[test]
fn twice_the_bytes_of_a_message_take_at_most_two_and_a_half_times_as_long() {
    check_readers(|name| !name.starts_with("WebSocket") && name != RELAY_FRAMES);
}

#[test]
fn twice_the_bytes_of_websocket_frames_take_at_most_two_and_a_half_times_as_long() {
    check_readers(|name| name.starts_with("WebSocket") && name != BYTE_BY_BYTE);
}

#[test]
fn twice_the_bytes_read_one_by_one_take_at_most_two_and_a_half_times_as_long() {
    check_readers(|name| name == BYTE_BY_BYTE);
}

#[test]
fn twice_the_bytes_of_relay_frames_take_at_most_two_and_a_half_times_as_long() {
    check_readers(|name| name == RELAY_FRAMES);
}
