//! A list whose items keep their identity by `diff:key`, so that moving one does not change the others.

use diffyne_worker::component::{Definition, Rules};
use serde::{Deserialize, Serialize};

pub const CLASS: &str = "Gallery\\Todo";

#[derive(Clone, Serialize, Deserialize)]
struct Item {
    id: i64,
    text: String,
    done: bool,
}

#[derive(Serialize, Deserialize)]
pub struct Todo {
    items: Vec<Item>,
    draft: String,
    /// The item that is edited, and its text.
    editing: Option<i64>,
    text: String,
}

impl Default for Todo {
    fn default() -> Self {
        let item = |id, text: &str| Item { id, text: text.to_owned(), done: false };
        let items = vec![item(1, "Read the README"), item(2, "Start three gateways"), item(3, "Kill one of them")];
        Self { items, draft: String::new(), editing: None, text: String::new() }
    }
}

const VIEW: &str = r#"<section>
  <form diff:submit="add" class="row">
    <input diff:model="draft" value="{{ draft }}" placeholder="What is to be done?" aria-label="New item" autocomplete="off">
    <button>Add</button>
  </form>
  <em diff:error="draft"></em>
  <ol class="items">
    {% for item in items %}
    <li diff:key="item-{{ item.id }}"{% if item.done %} class="done"{% endif %}>
      {% if editing == item.id %}
      <form diff:submit="save" class="row"><input diff:model="text" value="{{ text }}" aria-label="Text" autofocus><button>Save</button> <span class="quiet" diff:dirty diff:target="text" diff:cloak>not saved</span></form>
      {% else %}
      <button class="quiet" diff:click="toggle({{ item.id }})" aria-label="done">{% if item.done %}&#9745;{% else %}&#9744;{% endif %}</button>
      <span class="text" diff:click="edit({{ item.id }})">{{ item.text }}</span>
      <button class="quiet" diff:click="raise({{ item.id }})" aria-label="up">&uarr;</button>
      <button class="quiet" diff:click="remove({{ item.id }})" aria-label="remove">&times;</button>
      {% endif %}
    </li>
    {% else %}
    <li diff:key="none" class="quiet">Nothing is left to do. Add something above.</li>
    {% endfor %}
  </ol>
  <p class="quiet">{{ open }} open, {{ items | length }} in all <button class="quiet" diff:click="reverse">Reverse</button>
  {% if done %}<button class="quiet" diff:click="clear" diff:confirm="Remove what is done ({{ done }})?">Clear done</button>{% endif %}</p>
</section>"#;

impl Todo {
    fn at(&self, id: i64) -> Option<usize> {
        self.items.iter().position(|item| item.id == id)
    }
}

pub fn definition() -> Definition<Todo> {
    Definition::<Todo>::new(CLASS)
        .template(VIEW)
        .computed("open", |todo| todo.items.iter().filter(|item| !item.done).count())
        .computed("done", |todo| todo.items.iter().filter(|item| item.done).count())
        .rules(Rules::new([("draft", "required|string|min:3|max:60")]).attribute("draft", "new item"))
        .method("add", [], |todo, context, ()| {
            context.validate(todo)?;
            let id = todo.items.iter().map(|item| item.id).max().unwrap_or(0) + 1;
            todo.items.push(Item { id, text: std::mem::take(&mut todo.draft), done: false });
            Ok(())
        })
        .method("toggle", ["id"], |todo, _context, (id,): (i64,)| {
            if let Some(at) = todo.at(id) {
                todo.items[at].done = !todo.items[at].done;
            }
        })
        .method("edit", ["id"], |todo, _context, (id,): (i64,)| {
            todo.text = todo.at(id).map(|at| todo.items[at].text.clone()).unwrap_or_default();
            todo.editing = Some(id);
        })
        .method("save", [], |todo, _context, ()| {
            let at = todo.editing.take().and_then(|id| todo.at(id));
            if let Some(at) = at.filter(|_| !todo.text.trim().is_empty()) {
                todo.items[at].text = std::mem::take(&mut todo.text);
            }
        })
        .method("raise", ["id"], |todo, _context, (id,): (i64,)| {
            if let Some(at) = todo.at(id).filter(|at| *at > 0) {
                todo.items.swap(at, at - 1);
            }
        })
        .method("remove", ["id"], |todo, _context, (id,): (i64,)| todo.items.retain(|item| item.id != id))
        .method("clear", [], |todo, _context, ()| todo.items.retain(|item| !item.done))
        .method("reverse", [], |todo, _context, ()| todo.items.reverse())
}
