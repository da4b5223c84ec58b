//! HTML that is nearly plain: pages as applications have them, with tags, quotes and references that are missing, doubled
//! or in the wrong place.

/// What is put into a page.
const PARTS: [&str; 66] = [
    "<p>",
    "</p>",
    "<div>",
    "</div>",
    "<b>",
    "</b>",
    "<a href=x>",
    "</a>",
    "<table>",
    "</table>",
    "<tr>",
    "</tr>",
    "<td>",
    "</td>",
    "<tbody>",
    "</tbody>",
    "<caption>",
    "<col>",
    "<li>",
    "</li>",
    "<ul>",
    "</ul>",
    "<dt>",
    "<dd>",
    "<form>",
    "</form>",
    "<button>",
    "</button>",
    "<h1>",
    "</h1>",
    "<select>",
    "<option>",
    "</option>",
    "</select>",
    "<svg>",
    "</svg>",
    "<path/>",
    "<title>",
    "</title>",
    "<textarea>",
    "</textarea>",
    "<script>",
    "</script>",
    "<style>",
    "</style>",
    "<pre>",
    "</pre>",
    "<br>",
    "<br/>",
    "</br>",
    "<hr>",
    "<input>",
    "<x-y>",
    "</x-y>",
    "<!--",
    "-->",
    "<!-- x -->",
    "&",
    "&amp",
    "&amp;",
    "&copy=",
    "&#65",
    "&#39;",
    "\n",
    "\u{a0}",
    "\u{feff}",
];

/// Tags, the more often the more rules they have.
const TAGS: [&str; 85] = [
    "a",
    "a",
    "b",
    "b",
    "i",
    "em",
    "font",
    "p",
    "p",
    "div",
    "div",
    "div",
    "section",
    "address",
    "span",
    "span",
    "span",
    "label",
    "h1",
    "h2",
    "ul",
    "ul",
    "ol",
    "menu",
    "dir",
    "li",
    "li",
    "li",
    "dl",
    "dt",
    "dd",
    "form",
    "button",
    "pre",
    "table",
    "table",
    "table",
    "caption",
    "colgroup",
    "col",
    "tbody",
    "tbody",
    "thead",
    "tfoot",
    "tr",
    "tr",
    "tr",
    "tr",
    "td",
    "td",
    "td",
    "td",
    "th",
    "select",
    "optgroup",
    "option",
    "datalist",
    "textarea",
    "style",
    "script",
    "iframe",
    "svg",
    "svg",
    "g",
    "path",
    "desc",
    "title",
    "br",
    "hr",
    "img",
    "input",
    "x-y",
    "details",
    "summary",
    "dialog",
    "nobr",
    "listing",
    "noscript",
    "xmp",
    "foreignObject",
    "math",
    "object",
    "template",
    "ruby",
    "unknown",
];
/// Elements within elements that are generated.
const DEPTH_MAX: usize = 8;
const VOID: [&str; 5] = ["br", "hr", "img", "input", "col"];

/// Bytes that mean something to a tokenizer.
const SIGNS: [char; 16] = ['<', '>', '/', '=', '"', '\'', '&', ';', ' ', '\n', '-', '!', '#', 'A', 'p', '\0'];

/// A page in its parts: tags, comments and the texts between them.
fn parts(html: &str) -> Vec<&str> {
    let (mut parts, mut rest) = (Vec::new(), html);
    while !rest.is_empty() {
        let end = match rest.find('<') {
            Some(0) => rest.find('>').map_or(rest.len(), |end| end + 1),
            Some(text) => text,
            None => rest.len(),
        };
        parts.push(&rest[..end]);
        rest = &rest[end..];
    }
    parts
}

/// Elements that are closed, in places that may be wrong.
fn generate(random: &mut fastrand::Rng, depth: usize, html: &mut String) {
    let pieces = if depth == 0 { random.usize(1..4) } else { random.usize(..3) };
    for _ in 0..pieces {
        let tag = TAGS[random.usize(..TAGS.len())];
        match random.u8(..8) {
            0 | 1 => html.push_str(["x", " ", "a &amp; b", "\n", "<!-- c -->"][random.usize(..5)]),
            2 => html.extend(["<", tag, "/>"]),
            _ => {
                html.extend(["<", tag, ["", "", " a=b", " key='1'"][random.usize(..4)], ">"]);
                if VOID.contains(&tag) {
                    continue;
                }
                if depth < DEPTH_MAX {
                    generate(random, depth + 1, html);
                }
                html.extend(["</", tag, ">"]);
            }
        }
    }
}

/// Changes a page a little.
pub fn mutate(random: &mut fastrand::Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let seed = |random: &mut fastrand::Rng| String::from_utf8_lossy(&seeds[random.usize(..seeds.len())]).into_owned();
    let (mut html, other) = (seed(random), seed(random));
    if random.bool() {
        html.clear();
        generate(random, 0, &mut html);
    }
    let (mut parts, others) = (self::parts(&html), self::parts(&other));
    // Short pages are plain more often when they have changed, and more of them are read in the time.
    if random.u8(..4) > 0 && !parts.is_empty() {
        let from = random.usize(..parts.len());
        let until = from + element_parts(&parts[from..]).min(random.usize(1..40));
        parts = parts[from..until].to_vec();
    }
    for _ in 0..[0, 1, 1, 2, 3][random.usize(..5)] {
        change_parts(random, &mut parts, &others);
    }
    let mut changed = parts.concat();
    if random.u8(..3) == 0 {
        change_signs(random, &mut changed);
    }
    changed.into_bytes()
}

/// How many parts an element has that begins here.
fn element_parts(parts: &[&str]) -> usize {
    let mut depth = 0_usize;
    for (index, part) in parts.iter().enumerate() {
        let is_void = part.ends_with("/>")
            || VOID.iter().any(|tag| part.strip_prefix('<').is_some_and(|name| name.starts_with(tag)));
        if part.starts_with("</") {
            depth = depth.saturating_sub(1);
        } else if part.starts_with('<') && !part.starts_with("<!") && !is_void {
            depth += 1;
        }
        if depth == 0 {
            return index + 1;
        }
    }
    parts.len()
}

fn change_parts<'a>(random: &mut fastrand::Rng, parts: &mut Vec<&'a str>, others: &[&'a str]) {
    let at = random.usize(..=parts.len());
    let (other, added) = (random.usize(..=parts.len()), PARTS[random.usize(..PARTS.len())]);
    match random.u8(..8) {
        0 if at < parts.len() => drop(parts.remove(at)),
        1 if at < parts.len() => parts.insert(at, parts[at]),
        2 if at.max(other) < parts.len() => parts.swap(at, other),
        3 if at < parts.len() => parts.insert(other, parts[at]),
        4 if !others.is_empty() => parts.insert(at, others[random.usize(..others.len())]),
        5 if at < parts.len() => parts[at] = added,
        6 => {
            // An element with its end.
            let end =
                added.strip_prefix('<').and_then(|tag| PARTS.iter().find(|part| part.strip_prefix("</") == Some(tag)));
            parts.insert(at.max(other), end.unwrap_or(&"x"));
            parts.insert(at.min(other), added);
        }
        _ => parts.insert(at, added),
    }
}

fn change_signs(random: &mut fastrand::Rng, html: &mut String) {
    for _ in 0..random.usize(1..4) {
        let ends: Vec<usize> = html.char_indices().map(|(at, _)| at).collect();
        let Some(at) = random.choice(&ends).copied() else { return };
        let length = html[at..].chars().next().map_or(0, char::len_utf8);
        let sign = SIGNS[random.usize(..SIGNS.len())];
        match random.u8(..6) {
            0 => drop(html.remove(at)),
            1 => html.insert(at, sign),
            2 => html.replace_range(at..at + length, &sign.to_string()),
            3 => html.truncate(at),
            4 => {
                let swapped: String = html[at..at + length].chars().map(other_case).collect();
                html.replace_range(at..at + length, &swapped);
            }
            _ => html.insert_str(at, PARTS[random.usize(..PARTS.len())]),
        }
    }
}

fn other_case(c: char) -> char {
    if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }
}
