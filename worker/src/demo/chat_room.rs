//! A chat room: every visitor gets new messages, whichever gateway they are connected to.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::store::{ChatMessage, Store};
use crate::component::{CallError, Context, Definition, Member, Rules};

/// The state.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChatRoom {
    room_id: i64,
    messages: Vec<ChatMessage>,
    new_message: String,
}

impl Default for ChatRoom {
    fn default() -> Self {
        Self { room_id: 1, messages: Vec::new(), new_message: String::new() }
    }
}

pub(super) const CLASS: &str = "App\\Diffyne\\ChatRoom";
const VIEW: &str = r#"<section class="chat">
  <div class="log" role="log" aria-label="Messages" tabindex="0">
    <ul>{% for message in messages %}<li diff:key="m{{ message.id }}">{{ message.content }}</li>{% else -%}
      <li diff:key="none" class="quiet">Nobody has written anything yet. Write the first message, and watch it arrive in a second tab.</li>
    {%- endfor %}</ul>
  </div>
  <form diff:submit="sendMessage">
    <input diff:model="newMessage" value="{{ newMessage }}" placeholder="Say something" aria-label="Message" autocomplete="off">
    <button>Send</button>
    <em diff:error="newMessage"></em>
  </form>
</section>"#;

impl ChatRoom {
    async fn load_messages(&mut self, context: &Context) -> Result<(), CallError> {
        let (store, room) = (context.app::<Store>()?, self.room_id);
        self.messages = context.blocking(move || store.messages(room).map_err(CallError::exception)).await?;
        Ok(())
    }

    async fn send_message(&mut self, context: &mut Context) -> Result<(), CallError> {
        context.validate(self)?;
        let (store, room, content) = (context.app::<Store>()?, self.room_id, std::mem::take(&mut self.new_message));
        context.blocking(move || store.add(room, &content).map_err(CallError::exception)).await?;
        self.load_messages(context).await?;
        context.dispatch("message-sent", vec![json!({"room_id": self.room_id})]);
        Ok(())
    }

    async fn handle_new_message(&mut self, context: &Context, data: &Map<String, Value>) -> Result<(), CallError> {
        if data.get("room_id") == Some(&json!(self.room_id)) {
            self.load_messages(context).await?;
        }
        Ok(())
    }
}

pub(super) fn definition() -> Definition<ChatRoom> {
    Definition::<ChatRoom>::new(CLASS)
        .template(VIEW)
        .rules(Rules::new([("newMessage", "required|string|max:500")]))
        .async_mount(|room, context| Box::pin(room.load_messages(context)))
        .async_method("sendMessage", [], |room, context, ()| Box::pin(room.send_message(context)))
        .async_method("handleNewMessage", ["data"], |room, context, (data,): (Map<String, Value>,)| {
            Box::pin(async move { room.handle_new_message(context, &data).await })
        })
        .listen("message-sent", "handleNewMessage")
        // The demo knows no users: each page is one.
        .here(|context, event, fields| {
            let is_room = event == "message-sent" && fields.get("room_id") == Some(&json!(1));
            is_room.then(|| Member::new(&context.client.id, json!({"name": "Guest"})))
        })
}
