//! What is plain and what is not, and that plain HTML becomes html5ever's tree. `make fuzz` compares the two for more.

use std::fmt::Write as _;

use super::super::parse::parse_as_browser;
use super::*;

/// Pages as applications have them.
const PAGES: &[&str] = &[
    include_str!("../../../../tests/data/fuzz/html/form.html"),
    include_str!("../../../../tests/data/fuzz/html/icons.html"),
    include_str!("../../../../tests/data/fuzz/html/list.html"),
    include_str!("../../../../tests/data/fuzz/html/page.html"),
    include_str!("../../../../tests/data/fuzz/html/table.html"),
];

const PLAIN: &[&str] = &[
    // Roots.
    "",
    " \n\t ",
    "text",
    " <p>one root</p>\n",
    "<p>two</p><p>roots</p>",
    "<!-- a comment --><p>x</p>",
    "<p>x</p> text",
    "<li>item</li>",
    "<li>a</li><li>b</li>",
    // Text and character references.
    "<p>a &amp; b &lt;c&gt; &quot;d&quot; &#039;e&#039; &apos;</p>",
    "<p>&nbsp;</p><p>&nbsp;x\u{a0}</p><p>\u{85}</p><p>\u{feff}</p><p>\u{2003}\n</p>",
    "<p>a & b && c &</p><p>& </p>",
    "<p>&hellip;&copy;&NotEqualTilde;&rarr;&NewLine;x</p>",
    "<p>&#65;&#x42;&#X63;&#9;&#10;&#160;&#128512;&#0000065;</p>",
    "<p title='&amp;&quot;&#39;\n\t<b>'>ä€😀</p>",
    "<a href=\"?a=1&b=2&copy=3&lt=4\">x</a>",
    "<p>AT&T, R&D&x_y &unknown</p>",
    "<a href=\"?utm_source=x&utm_medium=y&copyz=1&z\">x</a>",
    "<p>a > b ' \" = `</p>",
    "a\u{feff}b",
    // Attributes.
    "<p a b=c d='e' f=\"g\" h = i j = 'k'>x</p>",
    "<p diff:model.live.debounce.300=\"a\" @click=\"b\" x-on:click.prevent='c' :class=d wire:key=e-1 _=f #g [h]=i (j)=k>x</p>",
    "<P CLASS=X ID='Y' onClick=z>x</p>",
    "<p\n class='a'\n\tid='b'\n>x</p\n>",
    "<a href=/a/b/>x</a>",
    "<br/><br /><br a/><br a=b /><br a=b/><input disabled/>",
    "<p a='' b=\"\">x</p>",
    // Elements.
    "<div><p>a</p><ul><li><p>b</p><ul><li>c</li></ul></li></ul></div>",
    "<b><b><b><b><b>x</b>y</b></b></b></b><b id=0><b><b><b><b>x</b></b></b>y</b></b>",
    "<b><div><i>x</i></div></b><i><table><tbody><tr><td><i>x</i></td></tr></tbody></table></i>",
    "<a href=a><table><tr><td><a href=b>x</a></td></tr></table></a>",
    "<button><p>x</p><table><tr><td><button>y</button></td></tr></table></button>",
    "<p><button><p>x</p></button></p><p><a><span><b>x</b></span></a></p>",
    "<h1><span><h2>x</h2></span></h1><h1></h1>",
    "<dl><dt>a</dt><dd>b<dl><dd>c</dd></dl></dd><div><dt>d</dt></div></dl>",
    "<ul><li><dl><dt><ul><li>x</li></ul></dt></dl></li></ul>",
    "<form><form-x>a</form-x><input></form><form></form>",
    "<my-element.a_b>x</my-element.a_b><My-Other>y</mY-oTHER>",
    "<hr><p>a<br>b<img src=x alt=''>c<wbr></p><hr>",
    "<noscript-like>x</noscript-like>",
    // Tables.
    "<table></table><table> <!--a-->&#32;</table>",
    "<table><tr><td>1</td><th>2</th></tr>\n<tr></tr><!-- in the implied body --></table>",
    "<table><caption>a<p>b</p></caption><colgroup><col><!--c--> <col span=2></colgroup><thead><tr></tr></thead><tbody></tbody><tfoot></tfoot><tbody></tbody></table>",
    "<div><table><tr><td><table><tr><td>x</td></tr></table></td></tr></table>y</div>",
    // Select.
    "<select> <option>a</option><!--c--><optgroup label=x> <option selected>b &amp; c</option></optgroup></select>",
    "<datalist><option>a</option><option value=b></option></datalist>",
    // Text that is no HTML.
    "<textarea>a &lt;b&gt; &amp;</textarea><textarea>\n\n x</textarea><textarea>&NewLine;x</textarea><textarea>\n</textarea>",
    "<style>a > b { c: '&amp;' } <x></style><script>if (a < b && c) {} '<div>'</script><iframe></iframe><script> </script>",
    "<STYLE>a</style >",
    "<pre>\n\nx</pre><pre>\n</pre><pre>&#10;x</pre><pre><b>\nx</b></pre><pre>x\n</pre><pre><!--a-->\nx</pre><pre>\n<i>x</i></pre>",
    // Comments.
    "<div><!----><!-- a --><!-- a - b > c <d> --><!--[if BLOCK]><![endif]--><!--x-y--></div>",
    // SVG.
    "<svg></svg><svg/><p><svg viewbox='0 0 1 1' VIEWBOX-X=1><PATH D=M0 /></svg></p>",
    "<svg><clippath id=a></clippath><linearGradient/><LINEARGRADIENT></lineargradient><svg/></svg>",
    "<svg xmlns='http://www.w3.org/2000/svg' xmlns:xlink='x' xlink:href='y' xml:lang=z><use xlink:href=#a></use></svg>",
    "<svg><title>a &amp; b</title><desc> <!--c--> </desc><text>x<tspan>y</tspan> z</text></svg>",
    "<svg patterncontentunits=a preserveaspectratio=b requiredextensions=c Class=d></svg>",
    "<button><svg><path/></svg> <span>x</span></button>",
    "<p>x</p><svg><g><g><rect/></g></g></svg>",
    "<link rel=stylesheet href=x><area><embed src=x><source><track>",
    "<menu><li>a</li></menu><dir><li>b</li></dir><dialog><search>x</search></dialog>",
];

const NOT_PLAIN: &[&str] = &[
    // Not closed by their own end tags, in order.
    "<p>",
    "<p>x",
    "</p>",
    "<p>x</p></p>",
    "<p>a<p>b</p>",
    "<ul><li>a<li>b</ul>",
    "<b><i>x</b></i>",
    "<div><p>x</div>",
    "<b><p>x</b></p>",
    "<div>x</DIVX>",
    "<br></br>",
    "<p>x</p",
    "<p>x</p a>",
    "<p>x</p/>",
    "</>",
    "<p>x</ p>",
    "<svg><path></svg>",
    "<select><option>a<option>b</select>",
    "<table><tr><td>x</table>",
    "<table><tr><td>1<td>2</tr></table>",
    // In the wrong place.
    "<p><div>x</div></p>",
    "<p><b><ul></ul></b></p>",
    "<p><hr></p>",
    "<p><form></form></p>",
    "<p><table></table></p>",
    "<h1><h2>x</h2></h1>",
    "<a><b><a>x</a></b></a>",
    "<button><div><button>x</button></div></button>",
    "<form><div><form>x</form></div></form>",
    "<form><table><tr><td><form></form></td></tr></table></form>",
    "<ul><li><span><li>x</li></span></li></ul>",
    "<dl><dt><dd>x</dd></dt></dl>",
    "<dl><dd><div><dt>x</dt></div></dd></dl>",
    "<tr><td>x</td></tr>",
    "<td>x</td>",
    "<col>",
    "<caption>x</caption>",
    "<table>x</table>",
    "<table><td>x</td></table>",
    "<table><div>x</div></table>",
    "<table>&nbsp;</table>",
    "<table>\u{a0}</table>",
    "<table><col></table>",
    "<table><tr>x</tr></table>",
    "<table><tr><tr></tr></tr></table>",
    "<table><tbody><td>x</td></tbody></table>",
    "<table><tr></tr></tbody></table>",
    "<table><tr></tr><tbody></tbody></table>",
    "<table><tr></tr><caption></caption></table>",
    "<table><input type=hidden></table>",
    "<table><form></form></table>",
    "<table><script></script></table>",
    "<table><colgroup>x</colgroup></table>",
    "<table><colgroup><p></p></colgroup></table>",
    "<select>x</select>",
    "<select><div></div></select>",
    "<select><option><b>x</b></option></select>",
    "<select><input></select>",
    "<select><select></select></select>",
    "<option><option>x</option></option>",
    "<optgroup></optgroup>",
    // Elements that others know how to read.
    "<unknown>x</unknown>",
    "<math><mi>x</mi></math>",
    "<object>x</object>",
    "<template><p>x</p></template>",
    "<ruby>x<rt>y</rt></ruby>",
    "<noscript>x</noscript>",
    "<image>",
    "<body>x</body>",
    "<title>x</title>",
    "<nobr>x</nobr>",
    "<meta charset=utf-8>",
    "<svg><style>x</style></svg>",
    "<svg><p>x</p></svg>",
    "<svg><a>x</a></svg>",
    "<svg><title><b>x</b></title></svg>",
    "<svg><foreignObject>x</foreignObject></svg>",
    "<!doctype html><p>x</p>",
    // Odd tags.
    "<div/>x</div>",
    "<p a=1 a=2>x</p>",
    "<p a=1 A=2>x</p>",
    "<p a='1'b='2'>x</p>",
    "<p a=>x</p>",
    "<p a=b'c>x</p>",
    "<p =a>x</p>",
    "<p a=x&amp;y>x</p>",
    "<p / a>x</p>",
    "<br / >",
    "<p \"a\">x</p>",
    "< p>x</p>",
    "<1>",
    "<p <b>x</p>",
    // Odd texts.
    "&copy x",
    "<p>&amp</p>",
    "<p>&unknown;</p>",
    "<p>&#0;</p>",
    "<p>a\r\nb</p>",
    "<p>a\0b</p>",
    "<!-- a -- b -->",
    "<!-->x",
];

fn assert_same(html: &str) -> bool {
    let Some(tree) = parse(html) else { return false };
    assert_eq!(Ok(&tree), parse_as_browser(html).as_ref(), "{html}");
    true
}

#[test]
fn plain_html_becomes_the_tree_of_a_browser() {
    for html in PLAIN.iter().chain(PAGES) {
        assert!(assert_same(html), "not plain: {html}");
    }
}

#[test]
fn what_a_browser_mends_is_not_plain() {
    let more = [
        "<!--->x-->",
        "<!-- a --!>",
        "<!-- <!-- a -->",
        "<!-- a <!-->",
        "<!-- a",
        "<![CDATA[x]]>",
        "<?php ?>",
        "<p>&#128;&#xfffe;</p>",
        "<p>&#xd800;</p>",
        "<p>&#65</p>",
        "<p>&#;&#x;</p>",
        "<p title='&copy'>x</p>",
        "<p title='?a&copy_b=1'>x</p>",
        "<p>a&copyx b&notit</p>",
        "<p title='&a;'>x</p>",
        "<textarea>a<b></textarea>",
        "<textarea>a",
        "<style>a</p></style>",
        "<style>a",
        "<script><!-- a</script>",
        "<script>a</scripts></script>",
        "<p a='1>x</p>",
    ];
    for html in NOT_PLAIN.iter().chain(&more) {
        assert!(parse(html).is_none(), "{html} is {:?}, for a browser {:?}", parse(html), parse_as_browser(html));
    }
}

/// Each page without one of its bytes, with one byte twice, and cut after each byte.
#[test]
fn plain_html_that_is_changed_a_little_is_read_as_a_browser_reads_it() {
    let mut plain = 0;
    for html in PLAIN.iter().chain(PAGES) {
        for (at, c) in html.char_indices() {
            let (before, after) = (&html[..at], &html[at + c.len_utf8()..]);
            plain += usize::from(assert_same(&format!("{before}{after}")));
            plain += usize::from(assert_same(&format!("{before}{c}{c}{after}")));
            plain += usize::from(assert_same(before));
        }
    }
    assert!(plain > 1_000, "{plain}");
}

/// HTML that is not plain is printed, and the printed HTML is read from then on.
#[test]
fn the_html_of_a_tree_is_plain() {
    let more = ["<ul><li>a<li>b</ul><p>c", "<table><tr><td>1<td>2</table>", "<div>&copy x</div><br></br>", "<P>x\r\ny"];
    for html in PLAIN.iter().chain(PAGES).chain(&more) {
        let tree = parse_as_browser(html).unwrap();
        assert_eq!(parse(&tree.to_html()), Some(tree), "{html}");
    }
}

#[test]
fn limits_leave_the_rest_to_html5ever() {
    let nested = |depth: usize| "<b>".repeat(depth) + &"</b>".repeat(depth);
    assert!(assert_same(&nested(DEPTH_MAX)) && !assert_same(&nested(DEPTH_MAX + 1)));
    let attributes = |count: usize| {
        let mut html = String::from("<p");
        for index in 0..count {
            write!(html, " a{index}").unwrap();
        }
        html + ">x</p>"
    };
    assert!(assert_same(&attributes(ATTRIBUTES_MAX)) && !assert_same(&attributes(ATTRIBUTES_MAX + 1)));
    let value = |bytes: usize| format!("<p a='{}'>x</p>", " ".repeat(bytes));
    assert!(assert_same(&value(MARKUP_BYTES_MAX - 100)) && !assert_same(&value(MARKUP_BYTES_MAX)));
    assert!(!assert_same(&format!("<!--{}-->", " ".repeat(MARKUP_BYTES_MAX + 1))));
}

#[test]
fn texts_of_plain_html_are_parts_of_it() {
    let html = "<p class='a'>text &amp; more<b>x</b></p>";
    let Some(Node::Element(p)) = parse(html) else { panic!("not plain") };
    assert!(matches!(&p.attributes[0], (Cow::Borrowed("class"), Cow::Borrowed("a"))));
    assert!(matches!(&p.children[0], Node::Text(Cow::Owned(text)) if text == "text & more"));
    assert!(matches!(&p.children[1], Node::Element(b) if matches!(b.children[0], Node::Text(Cow::Borrowed("x")))));
}

/// Pages in which one part after the other is changed, with what is put in its place.
fn changes() -> impl Iterator<Item = (String, String)> {
    const PIECES: &[&str] = &[
        "",
        "7",
        " ",
        "\n",
        "x",
        "<b>x</b>",
        "<li>x</li>",
        "<tr><td>x</td></tr>",
        "<p>x</p>",
        "</td>",
        "</div>",
        "<td>",
        "<",
        ">",
        "\"",
        "&amp;",
        "&nbsp;",
        "<!-- c -->",
        "<br>",
        " class=\"x\"",
        " diff:key=\"x\"",
        " key=1",
        "<option>x</option>",
        "\u{c}",
    ];
    // More of the same around it, and white space that counts.
    let wrap = |page: &str| {
        let rows: String =
            (0..20).map(|row| format!("<tr diff:key=\"{row}\"><td>{row}</td><td> a </td></tr>\n")).collect();
        format!(
            "<!-- c --><div>text<pre> <b>a</b> \n</pre><table>{rows}</table>\n<div><p>a</p>{page}</div><br></div> <p>x</p>"
        )
    };
    let mut random = fastrand::Rng::with_seed(7);
    let pages: Vec<String> = PAGES.iter().flat_map(|page| [(*page).to_owned(), wrap(page)]).collect();
    (0..6_000).map(move |_| {
        let old = random.choice(&pages).cloned().unwrap_or_default();
        let mut new = old.clone();
        for _ in 0..random.usize(1..3) {
            let from = new.floor_char_boundary(random.usize(0..=new.len()));
            let to = new.floor_char_boundary((from + random.choice([0, 0, 1, 3, 9, 60]).unwrap_or(0)).min(new.len()));
            new.replace_range(from..to, random.choice(PIECES).copied().unwrap_or_default());
        }
        (old, new)
    })
}

#[test]
fn the_part_that_differs_gives_the_patches_of_the_whole() {
    use crate::vdom::{Moves, changed_element, diff_page, diff_within, parse_page};
    let (mut found, mut different) = (0, 0);
    for (old, new) in changes() {
        let is_known = parse_roots(&old).is_some();
        let Some(changed) = changed_element(&old, &new, is_known && found % 2 == 0) else { continue };
        assert!(is_known && parse_roots(&new).is_some(), "{old}\n{new}");
        let (before, after) = (parse_page(&old).unwrap(), parse_page(&new).unwrap());
        let part = diff_within(&changed.old, &changed.new, Moves::Recreate, &changed.path, changed.is_preformatted);
        let whole = diff_page(&before, &after, Moves::Recreate);
        assert_eq!(part.as_deref(), Some(&*whole), "{old}\n{new}");
        found += 1;
        different += usize::from(!whole.is_empty());
    }
    assert!(found > 500 && different > 300, "{found}, {different}");
}

#[test]
fn an_element_with_another_start_tag_is_read_alone_if_it_is_the_same_child() {
    use crate::vdom::changed_element;
    let item = |index: usize, tag: &str, text: &str| format!("<li {tag} id=\"{index}\"><b>{text}</b></li>\n");
    let list = |changed: &str| {
        let items: String = (0..40).map(|index| item(index, "class=\"open\"", "done")).collect();
        format!("<div><ul>\n{items}{changed}{items}</ul></div>")
    };
    let old = list(&item(40, "class=\"open\" diff:key=\"a\"", "done"));
    let path = |new: &str| changed_element(&old, new, true).map(|changed| changed.path);
    for (tag, path_of_change) in [
        ("class=\"closed\" diff:key=\"a\"", vec![0, 40]),
        ("class='open' title=\"x\" diff:key=\"a\"", vec![0, 40]),
        // Another child: the comparison pairs it with none.
        ("class=\"open\" diff:key=\"b\"", vec![0]),
        ("class=\"open\"", vec![0]),
    ] {
        assert_eq!(path(&list(&item(40, tag, "again"))), Some(path_of_change), "{tag}");
    }
    let other = item(40, "class=\"open\" diff:key=\"a\"", "done").replace("li", "dt");
    assert_eq!(path(&list(&other)), Some(vec![0]));
}
