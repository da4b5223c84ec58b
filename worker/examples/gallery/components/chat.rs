//! Every visitor of the room gets new messages, whichever gateway they are connected to.

use diffyne_worker::component::{CallError, Context, Definition, Rules};
use diffyne_worker::demo::Store;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub const CLASS: &str = "Gallery\\Chat";
const ROOM: i64 = 7;

#[derive(Default, Serialize, Deserialize)]
pub struct Chat {
    messages: Vec<String>,
    draft: String,
}

const VIEW: &str = r#"<section class="chat">
  <div class="log" role="log" aria-label="Messages" tabindex="0">
    <ul>{% for message in messages %}<li>{{ message }}</li>{% else %}<li class="quiet">Nobody has said anything yet. Say something, and watch it arrive in a second tab.</li>{% endfor %}</ul>
  </div>
  <form diff:submit="send">
    <input diff:model="draft" value="{{ draft }}" placeholder="Say something" aria-label="Message" autocomplete="off">
    <button>Send</button>
  </form>
  <em diff:error="draft"></em>
</section>"#;

impl Chat {
    /// The messages live in a database, which blocks.
    async fn load(&mut self, context: &Context) -> Result<(), CallError> {
        let store = context.app::<Store>()?;
        let messages = context.blocking(move || Ok(store.messages(ROOM)?)).await?;
        self.messages = messages.into_iter().map(|message| message.content).collect();
        Ok(())
    }

    async fn send(&mut self, context: &mut Context) -> Result<(), CallError> {
        context.validate(self)?;
        let (store, text) = (context.app::<Store>()?, std::mem::take(&mut self.draft));
        context.blocking(move || Ok(store.add(ROOM, &text)?)).await?;
        self.load(context).await?;
        context.dispatch("message-sent", vec![json!({"room": ROOM})]);
        Ok(())
    }
}

pub fn definition() -> Definition<Chat> {
    Definition::<Chat>::new(CLASS)
        .template(VIEW)
        .locked(["messages"])
        .rules(Rules::new([("draft", "required|string|max:200")]).attribute("draft", "message"))
        .async_mount(|chat, context| Box::pin(chat.load(context)))
        .async_method("send", [], |chat, context, ()| Box::pin(chat.send(context)))
        .async_method("heard", ["what"], |chat, context, (_what,): (Map<String, Value>,)| Box::pin(chat.load(context)))
        .listen("message-sent", "heard")
}
