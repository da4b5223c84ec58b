//! Changes to inputs: flipped bits, words that parsers know, parts of other inputs, and nesting.

/// The most repetitions of an opener.
pub const NESTED_MAX: usize = 6_000;

/// Openers, and what closes each.
const NESTING: [(&str, &str); 16] = [
    ("[", "]"),
    ("{\"a\":", "}"),
    ("[[", "]]"),
    ("[{\"state\":", "}]"),
    ("<b>", "</b>"),
    ("<div>", "</div>"),
    ("<svg>", "</svg>"),
    ("<math><mtext>", "</math>"),
    ("<table><td>", "</table>"),
    ("<template>", "</template>"),
    ("<a><b>", "</a></b>"),
    ("<ul><li diff:key=a>", "</ul>"),
    // Lists and maps of one item in MessagePack.
    ("\u{11}", ""),
    ("(", ")"),
    ("a.", ""),
    ("<!--", "-->"),
];

/// Words that get an input deeper into a parser than noise does.
const WORDS: [&str; 24] = [
    "\"",
    "\\",
    "{",
    "}",
    "[",
    "]",
    "null",
    "1e999",
    "-0",
    "\\u0000",
    "\\ud800",
    "\u{2028}",
    "<div>",
    "</",
    "<!--",
    "<table>",
    "<svg>",
    "diff:key=\"a\"",
    "\r\n\r\n",
    "Content-Length: 9999999999",
    "Transfer-Encoding: chunked\r\n",
    "=",
    "\0",
    "unix:",
];

/// Changes an input a little, or mixes two.
pub fn mutate(random: &mut fastrand::Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut input = seeds[random.usize(..seeds.len())].clone();
    for _ in 0..random.usize(1..8) {
        let at = random.usize(..=input.len());
        let end = (at + random.usize(..32)).min(input.len());
        match random.u8(..9) {
            0 if at < input.len() => input[at] ^= 1 << random.u8(..8),
            1 if at < input.len() => input[at] = random.u8(..),
            2 => input.insert(at, random.u8(..)),
            3 => drop(input.drain(at..end)),
            4 => {
                let part = input[at..end].to_vec();
                input.splice(at..at, part);
            }
            5 => {
                let word = WORDS[random.usize(..WORDS.len())];
                input.splice(at..at, word.bytes());
            }
            6 => {
                let other = &seeds[random.usize(..seeds.len())];
                let from = random.usize(..=other.len());
                input.truncate(at);
                input.extend(&other[from..]);
            }
            7 => nest(random, &mut input, at),
            _ => input.truncate(at),
        }
    }
    input
}

/// Puts a part of the input deep into an opener, and may close it again.
fn nest(random: &mut fastrand::Rng, input: &mut Vec<u8>, at: usize) {
    let (open, close) = NESTING[random.usize(..NESTING.len())];
    let times = random.usize(1..=NESTED_MAX) >> random.u8(..10);
    let closed = if random.bool() { close.repeat(times) } else { String::new() };
    let end = (at + random.usize(..32)).min(input.len());
    input.splice(end..end, closed.bytes());
    input.splice(at..at, open.repeat(times).bytes());
}
