//! The components of the recorded conversation, in Rust: the same properties, methods and views as the PHP ones.

use std::sync::{Mutex, PoisonError};

use diffyne_worker::component::{CallError, Definition, Registry, Rules};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The key with which the conversation was signed.
pub const APP_KEY: &str = "base64:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// The counter's view.
pub const COUNTER_VIEW: &str = r#"<div class="counter">
  <p>Label: <b>{{ label }}</b></p>
  <!-- a comment -->
  <button diff:click="increment">+</button>
  <span>Count: {{ count }}</span>
  <input diff:model.live="label" value="{{ label }}">
</div>"#;
/// The chat room's view.
pub const CHAT_ROOM_VIEW: &str = r#"<section>
  <ul>{% for m in messages %}<li diff:key="m{{ m.id }}">{{ m.content }}</li>{% endfor %}</ul>
  <form diff:submit="sendMessage"><input diff:model="newMessage" value="{{ newMessage }}"><em diff:error="newMessage"></em></form>
</section>"#;
/// The list's view.
pub const TODO_VIEW: &str = r#"<div>
  <form diff:submit="add"><input diff:model="draft" value="{{ draft }}"><em diff:error="draft"></em></form>
  <ol>{% for i in items %}{% if filter == "" or filter in i.text %}<li diff:key="t{{ i.id }}">{{ i.text }}</li>{% endif %} {% endfor %}</ol>
</div>"#;

#[derive(Serialize, Deserialize)]
struct Counter {
    count: i64,
    label: String,
    owner: i64,
}

impl Default for Counter {
    fn default() -> Self {
        Self { count: 0, label: "a".to_owned(), owner: 7 }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Message {
    id: i64,
    content: String,
    room_id: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChatRoom {
    room_id: i64,
    messages: Vec<Message>,
    new_message: String,
}

impl Default for ChatRoom {
    fn default() -> Self {
        Self { room_id: 1, messages: Vec::new(), new_message: String::new() }
    }
}

#[derive(Serialize, Deserialize)]
struct Item {
    id: i64,
    text: String,
}

#[derive(Serialize, Deserialize)]
struct Todo {
    items: Vec<Item>,
    draft: String,
    filter: String,
}

impl Default for Todo {
    fn default() -> Self {
        let items = [(1, "one"), (2, "two"), (3, "three")].map(|(id, text)| Item { id, text: text.to_owned() });
        Self { items: items.into(), draft: String::new(), filter: String::new() }
    }
}

/// The chat's table, for one process.
static MESSAGES: Mutex<Vec<Message>> = Mutex::new(Vec::new());

impl ChatRoom {
    fn load(&mut self) {
        let messages = MESSAGES.lock().unwrap_or_else(PoisonError::into_inner);
        self.messages = messages.iter().filter(|message| message.room_id == self.room_id).cloned().collect();
    }

    fn insert(&mut self) {
        let mut messages = MESSAGES.lock().unwrap_or_else(PoisonError::into_inner);
        let id = messages.len() as i64 + 1;
        messages.push(Message { id, content: std::mem::take(&mut self.new_message), room_id: self.room_id });
    }
}

/// Adds them.
pub fn register(registry: &mut Registry) {
    registry.add(
        Definition::<Counter>::new("App\\Diffyne\\Counter")
            .template(COUNTER_VIEW)
            .locked(["owner"])
            .method("increment", [], |counter, _context, ()| counter.count += 1)
            .method("decrement", [], |counter, _context, ()| counter.count -= 1)
            .method("add", ["n"], |counter, _context, (n,): (i64,)| counter.count += n)
            .method("boom", [], |_counter, _context, ()| Err(CallError::Exception("boom".to_owned())))
            .method("leave", [], |_counter, context, ()| context.redirect("/status"))
            .method("leaveHard", [], |_counter, context, ()| context.redirect_with_load("https://example.com/x"))
            .method("shout", [], |counter, context, ()| {
                context.dispatch("shouted", vec![json!(counter.label), json!({"n": counter.count})]);
                context.dispatch_self("echoed", Vec::new());
                context.dispatch_to(&["diffyne-other"], "poked", vec![json!(1)]);
                context.browser_event("toast", json!({"text": "hi"}));
            })
            .method("poked", ["by"], |counter, _context, (by,): (Option<i64>,)| counter.count += by.unwrap_or(100))
            .listen("poke", "poked"),
    );
    registry.add(
        Definition::<ChatRoom>::new("App\\Diffyne\\ChatRoom")
            .template(CHAT_ROOM_VIEW)
            .rules(Rules::new([("newMessage", "required|string|max:500")]))
            .mount(|room, _context| room.load())
            .method("sendMessage", [], |room, context, ()| {
                context.validate(room)?;
                room.insert();
                room.load();
                context.dispatch("message-sent", vec![json!({"room_id": room.room_id})]);
                Ok(())
            })
            .method("handleNewMessage", ["data"], |room, _context, (data,): (Map<String, Value>,)| {
                if data.get("room_id") == Some(&json!(room.room_id)) {
                    room.load();
                }
            })
            .listen("message-sent", "handleNewMessage"),
    );
    registry.add(
        Definition::<Todo>::new("App\\Diffyne\\Todo")
            .template(TODO_VIEW)
            .query("filter")
            .rules(Rules::new([("draft", "required|string|min:3|max:20")]))
            .method("add", [], |todo, context, ()| {
                context.validate(todo)?;
                let id = todo.items.len() as i64 + 1;
                todo.items.push(Item { id, text: std::mem::take(&mut todo.draft) });
                Ok(())
            })
            .method("remove", ["id"], |todo, _context, (id,): (i64,)| todo.items.retain(|item| item.id != id))
            .method("reverse", [], |todo, _context, ()| todo.items.reverse())
            .method("search", ["q"], |todo, _context, (q,): (String,)| todo.filter = q),
    );
}
