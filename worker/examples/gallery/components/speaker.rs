//! An answer that is shown word by word while it is made, as those of language models are.

use std::time::Duration;

use diffyne_worker::component::Definition;
use serde::{Deserialize, Serialize};

pub const CLASS: &str = "Gallery\\Speaker";

#[derive(Default, Serialize, Deserialize)]
pub struct Speaker {
    question: String,
    answer: String,
}

const VIEW: &str = r#"<section class="form">
  <form diff:submit="ask" class="form"><label>Question <input diff:model="question" placeholder="Why is the sky blue?"></label>
  <button diff:loading.attr.disabled.true>Ask</button></form>
  <p diff:stream="answer" aria-live="polite"{% if answer %} data-done="yes"{% endif %}>{{ answer }}</p>
  {% if not answer %}<p class="quiet">The answer comes word by word.</p>{% endif %}
</section>"#;

const ANSWER: &str = "Sunlight has all colours. The air scatters blue light far more than red light, so blue comes to \
                      your eyes from every side, and the sky looks blue. At sunset the light has a longer way through \
                      the air, most of the blue is gone, and red is left.";
/// A language model is about as fast.
const PAUSE: Duration = Duration::from_millis(20);

pub fn definition() -> Definition<Speaker> {
    Definition::<Speaker>::new(CLASS).template(VIEW).locked(["answer"]).async_method(
        "ask",
        [],
        |speaker, context, ()| {
            Box::pin(async move {
                speaker.answer.clear();
                context.replace_part("answer", "").await?;
                for word in ANSWER.split_inclusive(' ') {
                    tokio::time::sleep(PAUSE).await;
                    // Fails when the visitor has left, and ends the method.
                    context.stream_part("answer", word).await?;
                    speaker.answer.push_str(word);
                }
                Ok(())
            })
        },
    )
}
