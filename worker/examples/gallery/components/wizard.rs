//! Several steps: earlier inputs stay in the state, and the last step redirects to another page.

use diffyne_worker::component::{Definition, Rules};
use serde::{Deserialize, Serialize};

pub const CLASS: &str = "Gallery\\Wizard";

#[derive(Serialize, Deserialize)]
pub struct Wizard {
    step: u8,
    team: String,
    seats: String,
}

impl Default for Wizard {
    fn default() -> Self {
        Self { step: 1, team: String::new(), seats: String::new() }
    }
}

const VIEW: &str = r#"<section>
  <progress max="3" value="{{ step }}" aria-label="Step {{ step }} of 3"></progress>
  {% if step == 1 %}
  <form diff:submit="next" class="form" key="team"><label>What is your team called? <input diff:model="team" value="{{ team }}"></label><em diff:error="team"></em><button>Next</button></form>
  {% elif step == 2 %}
  <form diff:submit="next" class="form" key="seats"><label>How many are you? <input diff:model="seats" value="{{ seats }}" inputmode="numeric"></label><em diff:error="seats"></em><button>Next</button></form>
  {% else %}
  <p>{{ team }}, {{ seats }} seats.</p>
  <button diff:click="finish">Finish</button>
  {% endif %}
  {% if step > 1 %}<button class="quiet" diff:click="back">Back</button>{% endif %}
</section>"#;

pub fn definition() -> Definition<Wizard> {
    Definition::<Wizard>::new(CLASS)
        .template(VIEW)
        .locked(["step"])
        .method("next", [], |wizard, context, ()| {
            let rules = match wizard.step {
                1 => Rules::new([("team", "required|string|min:2")]),
                _ => Rules::new([("seats", "required|integer|between:1,500")]),
            };
            context.validate_by(wizard, &rules)?;
            wizard.step = (wizard.step + 1).min(3);
            Ok(())
        })
        .method("back", [], |wizard, _context, ()| wizard.step = wizard.step.saturating_sub(1).max(1))
        .method("finish", [], |wizard, context, ()| {
            if wizard.step != 3 {
                return Ok(());
            }
            context.redirect("/done")
        })
}
