//! The admin page as HTML, from an [`Overview`].

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::overview::{Action, Figure, Overview, Table};
use super::session::Viewer;

/// The size of a sparkline's own coordinates.
const SPARK: (f64, f64) = (120.0, 28.0);

/// A text as HTML shows it.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(letter),
        }
    }
    out
}

/// A whole page around its body.
fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{}</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><link rel=\"icon\" href=\"data:,\">\
         <link rel=\"stylesheet\" href=\"/admin.css\"><script src=\"/admin.js\" defer></script></head>\
         <body>{body}</body></html>",
        escape(title)
    )
}

/// The form for the token.
pub(super) fn login(problem: Option<&str>) -> String {
    let problem =
        problem.map_or_else(String::new, |text| format!("<p class=\"bad\" role=\"alert\">{}</p>", escape(text)));
    document(
        "Diffyne: sign in",
        &format!(
            "<main class=\"narrow\"><h1>Diffyne</h1>{problem}<form method=\"post\" action=\"/login\">\
             <label for=\"token\">Admin token</label>\
             <input id=\"token\" name=\"token\" type=\"password\" autocomplete=\"current-password\" required>\
             <button>Sign in</button></form><p>It is the value of <code>DIFFYNE_ADMIN_TOKEN</code>, or one of \
             <code>DIFFYNE_ADMIN_TOKENS</code>. From this machine itself, the page can be read without.</p></main>"
        ),
    )
}

/// The page. `viewer` sees what they may do.
pub(super) fn overview(of: &Overview, viewer: &Viewer) -> String {
    let mut body = format!(
        "<header><h1>{} <small>{}</small></h1><p>{} · up {}</p>{}</header>",
        escape(&of.program),
        escape(&of.name),
        escape(&of.version),
        super::overview::Unit::Seconds.show(&json!(of.uptime_seconds)),
        who(viewer)
    );
    body.push_str("<main data-live>");
    for problem in &of.problems {
        // Writing into a String cannot fail.
        let _ = write!(body, "<p class=\"bad\">{}</p>", escape(problem));
    }
    body.push_str("<ul class=\"figures\">");
    for one in &of.figures {
        figure(&mut body, one);
    }
    body.push_str("</ul>");
    for one in &of.tables {
        table(&mut body, one);
    }
    body.push_str("</main>");
    if viewer.may_change() {
        actions(&mut body, &of.actions);
    }
    document(&format!("{} {}", of.program, of.name), &body)
}

fn who(viewer: &Viewer) -> String {
    match viewer {
        Viewer::Operator(operator, _) => format!(
            "<form method=\"post\" action=\"/logout\"><span>{}</span> <button>Sign out</button></form>",
            escape(&operator.name)
        ),
        Viewer::Local => "<p><a href=\"/login\">Sign in</a> to change something</p>".to_owned(),
    }
}

fn figure(body: &mut String, figure: &Figure) {
    let value = figure.value.map_or_else(|| "–".to_owned(), |value| figure.unit.show(&json!(value)));
    let _ = write!(
        body,
        "<li id=\"figure-{}\"><span>{}</span><b>{}</b>{}</li>",
        escape(&figure.id),
        escape(&figure.title),
        escape(&value),
        sparkline(figure)
    );
}

/// The last hour as a line.
fn sparkline(figure: &Figure) -> String {
    let values: Vec<f64> = figure.history.iter().copied().chain(figure.value).collect();
    let most = values.iter().copied().fold(0.0, f64::max);
    let step = SPARK.0 / (values.len().max(2) - 1) as f64;
    let height = |value: f64| if most > 0.0 { (SPARK.1 - 2.0) * (1.0 - value / most) + 1.0 } else { SPARK.1 - 1.0 };
    let points: Vec<String> =
        values.iter().enumerate().map(|(at, value)| format!("{:.1},{:.1}", at as f64 * step, height(*value))).collect();
    format!(
        "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"the last hour, at most {}\" preserveAspectRatio=\"none\">\
         <polyline points=\"{}\"/></svg>",
        SPARK.0,
        SPARK.1,
        escape(&figure.unit.show(&json!(most))),
        points.join(" ")
    )
}

fn table(body: &mut String, table: &Table) {
    let _ = write!(body, "<section id=\"{}\"><h2>{}</h2>", escape(&table.id), escape(&table.title));
    if table.rows.is_empty() {
        let _ = write!(body, "<p>{}</p></section>", escape(&table.empty));
        return;
    }
    let _ = write!(
        body,
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{}\"><table><thead><tr>",
        escape(&table.title)
    );
    for column in &table.columns {
        let _ = write!(body, "<th scope=\"col\">{}</th>", escape(&column.title));
    }
    body.push_str("</tr></thead><tbody>");
    for row in &table.rows {
        body.push_str("<tr>");
        for column in &table.columns {
            let value = row.get(&column.key).unwrap_or(&Value::Null);
            let class = if value.is_number() { " class=\"number\"" } else { "" };
            let _ = write!(body, "<td{class}>{}</td>", escape(&column.unit.show(value)));
        }
        body.push_str("</tr>");
    }
    body.push_str("</tbody></table></div></section>");
}

fn actions(body: &mut String, actions: &[Action]) {
    body.push_str("<footer><h2>Actions</h2>");
    for action in actions {
        let name = escape(&action.name);
        let field = action.field.as_ref().map_or_else(String::new, |field| {
            format!("<label>{0} <input name=\"value\" required maxlength=\"128\"></label>", escape(field))
        });
        let _ = write!(
            body,
            "<form method=\"get\" action=\"/ask\"><input type=\"hidden\" name=\"action\" value=\"{name}\">{field}\
             <button>{}</button></form>",
            escape(&action.title)
        );
    }
    body.push_str("</footer>");
}

/// Asks again before an action.
pub(super) fn ask(of: &Overview, action: &Action, value: &str, proof: &str) -> String {
    let what = if value.is_empty() { String::new() } else { format!("<p><code>{}</code></p>", escape(value)) };
    document(
        &action.title,
        &format!(
            "<main class=\"narrow\"><h1>{}?</h1><p>{} of {} {}.</p>{what}<form method=\"post\" action=\"/do\">\
             <input type=\"hidden\" name=\"action\" value=\"{}\"><input type=\"hidden\" name=\"value\" value=\"{}\">\
             <input type=\"hidden\" name=\"proof\" value=\"{}\"><button class=\"danger\">{}</button> \
             <a href=\"/\">Back</a></form></main>",
            escape(&action.title),
            escape(&action.explanation),
            escape(&of.program),
            escape(&of.name),
            escape(&action.name),
            escape(value),
            escape(proof),
            escape(&action.title)
        ),
    )
}

/// What came of an action.
pub(super) fn done(title: &str, status: u16, answer: &Value) -> String {
    let word = if status < 300 { "Done" } else { "Not done" };
    let fields = answer.as_object().into_iter().flatten();
    let lines: String = fields
        .map(|(name, value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            format!("<dt>{}</dt><dd>{}</dd>", escape(name), escape(&value))
        })
        .collect();
    document(
        title,
        &format!(
            "<main class=\"narrow\"><h1>{word}: {}</h1><dl>{lines}</dl><p><a href=\"/\">Back</a></p></main>",
            escape(title)
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::super::overview::Unit;
    use super::*;

    #[test]
    fn what_applications_and_clients_have_named_is_text_and_never_markup() {
        let evil = "<img src=x onerror=alert(1)>\"'&";
        let columns = [(evil, evil, Unit::Plain)];
        let of = Overview {
            program: evil.to_owned(),
            name: evil.to_owned(),
            version: evil.to_owned(),
            uptime_seconds: 1,
            problems: vec![evil.to_owned()],
            figures: vec![Figure {
                id: evil.to_owned(),
                title: evil.to_owned(),
                unit: Unit::Plain,
                value: None,
                history: vec![f64::NAN, -1.0],
            }],
            tables: vec![
                Table::new(evil, evil, evil, &columns).with([json!({evil: evil})]),
                Table::new(evil, evil, evil, &[]),
            ],
            actions: Vec::new(),
        };
        let action = Action {
            name: evil.to_owned(),
            title: evil.to_owned(),
            explanation: evil.to_owned(),
            field: Some(evil.to_owned()),
        };
        let mut footer = String::new();
        actions(&mut footer, std::slice::from_ref(&action));
        let pages = [
            overview(&of, &Viewer::Local),
            ask(&of, &action, evil, evil),
            done(evil, 500, &json!({evil: evil})),
            login(Some(evil)),
            footer,
        ];
        for page in pages {
            assert!(!page.contains("<img") && !page.contains("'&") && page.contains("&lt;img"), "{page}");
        }
    }
}
