//! The compression of messages, permessage-deflate (RFC 7692), without context takeover: each message is compressed by
//! itself. So a connection owns no compressor, a frame that is compressed once is right for every connection, and each
//! thread needs one compressor in all.

use std::cell::RefCell;

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::Close;
use super::extensions::{Deflate, WINDOW_BITS_MAX};
use super::frame::{self, OPCODE_TEXT};

/// The smallest message that is compressed, in bytes. A shorter one fits into one packet anyway.
pub const COMPRESSED_BYTES_MIN: usize = 1024;
/// The level of compression: the quickest, since a gateway has more messages than bandwidth to save.
const LEVEL: u32 = 1;
/// The end of what a flush writes. It is not sent (RFC 7692, section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// An empty block that ends a stream.
const LAST_BLOCK: [u8; 5] = [1, 0, 0, 0xff, 0xff];
/// The first capacity of an inflated message, as a multiple of its compressed size.
const FIRST_RATIO: usize = 4;
/// The most deflate streams in one message. A peer may end its stream after each part of a message, and each end costs
/// more than other bytes do.
const STREAMS_MAX: usize = 256;
/// The largest buffer that a compressor keeps between two messages, in bytes.
const KEPT_BYTES_MAX: usize = 256 * 1024;

const INVALID: Close = Close::new(1007, "Invalid compressed data");

/// The compressor of one thread.
struct Compressor {
    deflate: Compress,
    out: Vec<u8>,
}

thread_local! {
    static COMPRESSOR: RefCell<Compressor> =
        RefCell::new(Compressor { deflate: Compress::new(Compression::new(LEVEL), false), out: Vec::new() });
    static INFLATER: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

/// Compresses the frame of a whole text message. Returns `None` if the message is small or does not become smaller; then
/// the frame is to be sent as it is.
pub fn compress(frame: &[u8]) -> Option<Bytes> {
    let (opcode, payload) = frame::parse(frame);
    if opcode != OPCODE_TEXT || payload.len() < COMPRESSED_BYTES_MIN {
        return None;
    }
    COMPRESSOR.with_borrow_mut(|compressor| {
        let compressed = compressor.run(payload).map(frame::compressed_text);
        if compressor.out.capacity() > KEPT_BYTES_MAX {
            compressor.out = Vec::new();
        }
        compressed
    })
}

impl Compressor {
    /// Compresses a payload, or returns `None` if it does not become smaller.
    fn run(&mut self, payload: &[u8]) -> Option<&[u8]> {
        let Self { deflate, out } = self;
        deflate.reset();
        out.clear();
        // One byte is left when all is written; without it, more may follow.
        out.reserve(payload.len());
        deflate.compress_vec(payload, out, FlushCompress::Sync).ok()?;
        let is_whole = deflate.total_in() == payload.len() as u64 && out.len() < payload.len();
        if is_whole { out.strip_suffix(&TAIL) } else { None }
    }
}

impl Deflate {
    /// Whether a client with these terms can inflate a message that was compressed with the largest window. No distance
    /// within a message is longer than the message.
    pub fn allows(self, frame_bytes: usize) -> bool {
        self.window_bits == WINDOW_BITS_MAX || frame_bytes <= 1 << self.window_bits.get()
    }
}

/// Inflates the payload of a message. Never more than `bytes_max` bytes are allocated for it; one that would be longer
/// ends the connection.
pub(super) fn inflate(compressed: &[u8], bytes_max: usize) -> Result<Vec<u8>, Close> {
    INFLATER.with_borrow_mut(|inflater| {
        inflater.reset(false);
        let first = compressed.len().saturating_mul(FIRST_RATIO).min(bytes_max);
        let mut message = Message { out: Vec::with_capacity(first), bytes_max, streams: 1 };
        for part in [compressed, &TAIL] {
            message.add(inflater, part)?;
        }
        // A message ends where a block does, so all that can follow is another block.
        let before = inflater.total_out();
        let end = inflater.decompress(&LAST_BLOCK, &mut [0], FlushDecompress::None);
        let is_whole = matches!(end, Ok(Status::StreamEnd)) && inflater.total_out() == before;
        if is_whole { Ok(message.out) } else { Err(INVALID) }
    })
}

/// A message that is being inflated.
struct Message {
    out: Vec<u8>,
    bytes_max: usize,
    streams: usize,
}

impl Message {
    fn add(&mut self, inflater: &mut Decompress, mut input: &[u8]) -> Result<(), Close> {
        loop {
            let (consumed, written) = (inflater.total_in(), self.out.len());
            let status = self.step(inflater, input)?;
            let consumed = (inflater.total_in() - consumed) as usize;
            input = &input[consumed..];
            if status == Status::StreamEnd {
                self.streams += 1;
                if self.streams > STREAMS_MAX {
                    return Err(INVALID);
                }
                inflater.reset(false);
            } else if consumed == 0 && self.out.len() == written {
                // The end: nothing more can be read or written.
                return Ok(());
            }
        }
    }

    /// Inflates into the room there is; makes some if there is none.
    fn step(&mut self, inflater: &mut Decompress, input: &[u8]) -> Result<Status, Close> {
        if self.out.len() == self.bytes_max {
            let mut excess = [0];
            let before = inflater.total_out();
            let status = inflater.decompress(input, &mut excess, FlushDecompress::None).map_err(|_| INVALID)?;
            return if inflater.total_out() > before { Err(Close::TOO_BIG) } else { Ok(status) };
        }
        if self.out.len() == self.out.capacity() {
            let wanted = self.out.capacity().saturating_mul(2).max(1).min(self.bytes_max);
            self.out.reserve_exact(wanted - self.out.len());
        }
        inflater.decompress_vec(input, &mut self.out, FlushDecompress::None).map_err(|_| INVALID)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::{Decoder, DecoderLimits, Event};
    use super::*;
    use proptest::prelude::*;

    const LIMITS: DecoderLimits = DecoderLimits { message_bytes_max: 100_000, binary: true, inflates: true };

    /// Compresses as a client may: each part of the message with an end of its kind.
    fn deflated(parts: &[(&[u8], FlushCompress)]) -> Vec<u8> {
        let mut out = Vec::with_capacity(1 << 20);
        let mut deflate = Compress::new(Compression::best(), false);
        for (part, flush) in parts {
            deflate.compress_vec(part, &mut out, *flush).unwrap();
            if *flush == FlushCompress::Finish {
                deflate.reset();
            }
        }
        match out.strip_suffix(&TAIL) {
            Some(start) => start.to_vec(),
            // What ends with a last block needs one that is empty (RFC 7692, section 7.2.3.5).
            None => [&out, &[0][..]].concat(),
        }
    }

    fn one(text: &[u8]) -> Vec<u8> {
        deflated(&[(text, FlushCompress::Sync)])
    }

    /// Builds an unmasked client frame: with a mask of zeros.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![first];
        if payload.len() <= 125 {
            out.push(0x80 | payload.len() as u8);
        } else {
            out.push(0x80 | 127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(payload);
        out
    }

    /// Decodes frames that arrive in chunks. Returns the texts, or the close code.
    fn decode(frames: &[Vec<u8>], chunk: usize) -> Result<Vec<String>, u16> {
        let mut decoder = Decoder::new(LIMITS);
        let mut seen = Vec::new();
        for part in frames.concat().chunks(chunk) {
            let (mut part, mut used) = (part.to_vec(), 0);
            while let Some(event) = decoder.next(&mut part, &mut used).map_err(|close| close.code)? {
                seen.push(match event {
                    Event::Text(text) => text.into_owned(),
                    other => format!("{other:?}"),
                });
            }
        }
        assert!(!decoder.is_mid_message() && decoder.held() == 0, "nothing is kept");
        Ok(seen)
    }

    #[test]
    fn a_message_that_ends_within_a_block_is_none() {
        let whole = one("a text that is long enough to be cut, and cut".repeat(20).as_bytes());
        assert!(inflate(&whole, 10_000).is_ok());
        assert_eq!(inflate(&[0], 10_000).unwrap(), b"", "the empty message");
        for length in 0..whole.len() {
            assert!(inflate(&whole[..length], 10_000).is_err(), "{length} of {}", whole.len());
        }
    }

    #[test]
    fn compressed_messages_arrive_however_they_are_cut() {
        let text = "grüße, ".repeat(300);
        let bytes = one(text.as_bytes());
        let [a, b, c] = [&bytes[..3], &bytes[3..9], &bytes[9..]];
        let (half, rest) = text.as_bytes().split_at(999);
        let twice_ended = deflated(&[(half, FlushCompress::Finish), (rest, FlushCompress::Finish)]);
        let finished = deflated(&[(half, FlushCompress::Sync), (rest, FlushCompress::Finish)]);
        #[allow(clippy::type_complexity)]
        let cases: [(&str, Vec<Vec<u8>>, Vec<&str>); 9] = [
            ("whole", vec![frame(0xc1, &bytes)], vec![&text]),
            ("fragmented", vec![frame(0x41, a), frame(0x00, b), frame(0x80, c)], vec![&text]),
            ("with an empty end", vec![frame(0x41, &bytes), frame(0x80, b"")], vec![&text]),
            (
                "a ping between",
                vec![frame(0x41, a), frame(0x89, b""), frame(0x80, &bytes[3..])],
                vec!["Ping([])", &text],
            ),
            (
                "beside plain ones",
                vec![frame(0x81, b"x"), frame(0xc1, &bytes), frame(0x81, b"y")],
                vec!["x", &text, "y"],
            ),
            ("empty", vec![frame(0xc1, &[0])], vec![""]),
            ("streams that end", vec![frame(0xc1, &twice_ended)], vec![&text]),
            ("flushed, then ended", vec![frame(0xc1, &finished)], vec![&text]),
            ("stored blocks", vec![frame(0xc1, &[0, 2, 0, 0xfd, 0xff, b'h', b'i', 0])], vec!["hi"]),
        ];
        for (name, frames, expected) in cases {
            for chunk in [1, 2, 7, 1 << 20] {
                assert_eq!(decode(&frames, chunk).unwrap(), expected, "{name}, chunks of {chunk}");
            }
        }
    }

    #[test]
    fn faults_of_compressed_messages_have_their_close_codes() {
        let good = one(b"hello hello hello");
        let faults: [(&str, Vec<Vec<u8>>, u16); 9] = [
            ("RSV1 on a continuation", vec![frame(0x01, b"x"), frame(0xc0, &good)], 1002),
            ("RSV1 on each fragment", vec![frame(0x41, &good[..3]), frame(0xc0, &good[3..])], 1002),
            ("RSV1 on a ping", vec![frame(0xc9, b"")], 1002),
            ("RSV2", vec![frame(0xa1, b"x")], 1002),
            ("RSV1 and RSV3", vec![frame(0xd1, &good)], 1002),
            ("no deflate stream", vec![frame(0xc1, b"\xff\xff\xff\xff")], 1007),
            ("a reference to another message", vec![frame(0xc1, &[0x02, 0x13, 0x00])], 1007),
            ("no UTF-8", vec![frame(0xc1, &one(&[0xff; 9]))], 1007),
            ("streams without end", vec![frame(0xc1, &[3, 0].repeat(STREAMS_MAX))], 1007),
        ];
        for (name, frames, code) in faults {
            for chunk in [1, 5, 1 << 20] {
                assert_eq!(decode(&frames, chunk), Err(code), "{name}, chunks of {chunk}");
            }
        }
        let mut decoder = Decoder::new(DecoderLimits { inflates: false, ..LIMITS });
        assert_eq!(
            decoder.next(&mut frame(0xc1, &good), &mut 0).map_err(|close| close.code),
            Err(1002),
            "not negotiated"
        );
    }

    #[test]
    fn a_bomb_takes_no_more_memory_than_the_largest_message() {
        for length in [99_999, 100_000, 100_001, 1_000_000] {
            let bomb = one(&vec![b'x'; length]);
            assert!(bomb.len() < 1200, "{}", bomb.len());
            for bytes_max in [LIMITS.message_bytes_max, length] {
                let inflated = inflate(&bomb, bytes_max);
                match &inflated {
                    Ok(text) => assert!(text.len() == length && text.capacity() <= bytes_max, "{}", text.capacity()),
                    Err(close) => assert_eq!(*close, Close::TOO_BIG),
                }
                assert_eq!(inflated.is_ok(), length <= bytes_max, "{length} of {bytes_max}");
            }
        }
        let mut decoder = Decoder::new(LIMITS);
        let mut bytes = [frame(0xc1, &one(&vec![b'x'; 50_000])), frame(0x81, b"x")].concat();
        let mut used = 0;
        while decoder.next(&mut bytes, &mut used).unwrap().is_some() {}
        assert_eq!((decoder.take_inflated(), decoder.take_inflated()), (50_000, 0), "it is charged once");
    }

    #[test]
    fn small_messages_and_those_that_do_not_shrink_stay_as_they_are() {
        let small = "x".repeat(COMPRESSED_BYTES_MIN - 1);
        assert_eq!(compress(&frame::text(&small)), None);
        let mut random = fastrand::Rng::with_seed(1);
        let noise: String = (0..5000).map(|_| random.char('\u{4e00}'..'\u{9fff}')).collect();
        assert!(compress(&frame::text(&noise)).is_none_or(|compressed| compressed.len() < noise.len()));
        assert_eq!(compress(&frame::binary(&[0; 5000])), None);
        assert_eq!(compress(&frame::close(&Close::GOING_AWAY)), None);
        let large = compress(&frame::text(&format!("{small}x"))).unwrap();
        assert!(large.len() < 100 && large[0] == 0xc1);
    }

    #[test]
    fn a_window_smaller_than_the_message_leaves_it_uncompressed() {
        let terms = |bits| Deflate { window_bits: std::num::NonZeroU8::new(bits).unwrap() };
        assert!(terms(15).allows(10_000_000) && terms(9).allows(512) && terms(14).allows(16_384));
        assert!(!terms(9).allows(513) && !terms(8).allows(257) && !terms(14).allows(16_385));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(150))]
        #[test]
        fn what_is_compressed_comes_back(words in proptest::collection::vec("[a-zé]{1,9}", 300..900), cut in 1..4000_usize) {
            let text = words.join(" ");
            let compressed = compress(&frame::text(&text)).unwrap_or_else(|| frame::text(&text));
            let (_, payload) = frame::parse(&compressed);
            prop_assert_eq!(decode(&[frame(compressed[0], payload)], cut), Ok(vec![text]));
        }

        #[test]
        fn no_bytes_inflate_beyond_the_limit(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(text) = inflate(&bytes, 1000) {
                prop_assert!(text.len() <= 1000 && text.capacity() <= 1000);
            }
        }
    }
}
