//! A form that validates each field when the user leaves it, and all of them when it is submitted.

use diffyne_worker::component::{Definition, Rules};
use serde::{Deserialize, Serialize};

pub const CLASS: &str = "Gallery\\Signup";

#[derive(Default, Serialize, Deserialize)]
pub struct Signup {
    name: String,
    email: String,
    age: Option<String>,
    plan: String,
    terms: bool,
    welcome: String,
}

const VIEW: &str = r#"<form diff:submit="join" class="form">
  {% if welcome %}<p class="good">{{ welcome }}</p>{% endif %}
  <label>Name <input diff:model.lazy="name" value="{{ name }}"></label><em diff:error="name"></em>
  <label>E-mail <input diff:model.lazy="email" value="{{ email }}"></label><em diff:error="email"></em>
  <label>Age <input diff:model.lazy="age" value="{{ age }}" inputmode="numeric"></label><em diff:error="age"></em>
  <label>Plan
    <select diff:model="plan">
      <option value="">Choose one</option>
      {% for plan_name in ["small", "large"] %}<option value="{{ plan_name }}"{% if plan == plan_name %} selected{% endif %}>{{ plan_name }}</option>{% endfor %}
    </select>
  </label><em diff:error="plan"></em>
  <label class="row"><input type="checkbox" diff:model="terms"{% if terms %} checked{% endif %}> I agree</label><em diff:error="terms"></em>
  <p class="quiet" diff:dirty diff:cloak>Not sent yet.</p>
  <button diff:loading.attr.disabled.true>Join</button>
</form>"#;

fn rules() -> Rules {
    Rules::new([
        ("name", "required|string|between:2,40"),
        ("email", "required|email"),
        ("age", "nullable|integer|min:18"),
        ("plan", "required|in:small,large"),
        ("terms", "boolean"),
    ])
    .attribute("email", "e-mail")
    .message("age", "min", "You have to be :min to join.")
}

pub fn definition() -> Definition<Signup> {
    Definition::<Signup>::new(CLASS)
        .template(VIEW)
        .locked(["welcome"])
        .rules(rules())
        // The state has no errors: each update validates all fields that are filled in.
        .updated(|form, context, _property| {
            let filled =
                [("name", !form.name.is_empty()), ("email", !form.email.is_empty()), ("age", form.age.is_some())];
            for (field, _) in filled.into_iter().filter(|(_, is_filled)| *is_filled) {
                context.validate_only(form, field)?;
            }
            Ok(())
        })
        .method("join", [], |form, context, ()| {
            form.age = form.age.take().filter(|age| !age.is_empty());
            context.validate(form)?;
            if !form.terms {
                context.add_error("terms", "Please agree first.");
                return Ok(());
            }
            form.welcome = format!("Welcome, {}!", form.name);
            context.browser_event("joined", serde_json::json!({"plan": form.plan}));
            Ok(())
        })
}
