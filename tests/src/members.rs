//! A component whose users gateways know: by the cookie `known` with whatever call comes first, by the cookie `session` with
//! a call of `touch`, and by a login.

use diffyne_worker::component::{self, BoxFuture, CallError, Context, Definition, Registry};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The class of the component.
pub const MEMBER: &str = "App\\Tests\\Member";
/// The event that it hears.
pub const ORDER: &str = "order-paid";

#[derive(Default, Serialize, Deserialize)]
struct Member {
    calls: i64,
}

fn tell_by_cookie(context: &mut Context) {
    let user = context.client.cookie("session").map(str::to_owned);
    context.set_user(user.as_deref());
}

/// Registers the component. `hold` waits until the test lets it go on.
pub fn register(registry: &mut Registry, hold: fn(String) -> BoxFuture<'static, Result<(), CallError>>) {
    registry.identify(|client| client.cookie("known").map(str::to_owned));
    registry.add(
        Definition::<Member>::new(MEMBER)
            .render(|member| format!("<p>{}</p>", member.calls))
            .method("hear", ["order"], |_member, _context, (_order,): (Value,)| {})
            .listen(ORDER, "hear")
            .may_hear(|context, _event, fields| {
                tell_by_cookie(context);
                assert_ne!(context.client.cookie("session"), Some("nobody-knows"), "on purpose");
                fields.get("closed").is_none() || context.client.cookie("session") == Some("ada")
            })
            .here(|context, event, fields| {
                tell_by_cookie(context);
                let user = context.client.cookie("session")?;
                let is_refused = fields.get("closed").is_some() && user != "ada";
                let name = context.client.cookie("name").unwrap_or(user);
                (event == ORDER && !is_refused).then(|| component::Member::new(user, json!({"name": name})))
            })
            .method("touch", [], |_member, context, ()| tell_by_cookie(context))
            .method("say_nothing", [], |member, _context, ()| member.calls += 1)
            .method("enter", ["user"], |_member, context, (user,): (String,)| {
                context.set_cookie(format!("session={user}; Path=/"));
                context.set_user(Some(&user));
            })
            // The cookie stays, as with a logout that keeps the session's id.
            .method("leave", [], |_member, context, ()| context.set_user(None))
            .async_method("touch_slowly", ["release"], move |_member, context, (release,): (String,)| {
                Box::pin(async move {
                    tell_by_cookie(context);
                    hold(release).await
                })
            })
            .method("order", ["user", "n"], |_member, context, (user, n): (String, i64)| {
                context.dispatch_to_user(user, ORDER, vec![json!({"n": n})]);
            })
            .method("order_and_fail", ["user"], |_member, context, (user,): (String,)| {
                context.dispatch_to_user(user, ORDER, vec![json!({"n": -1})]);
                Err::<(), _>(CallError::Exception("on purpose".to_owned()))
            }),
    );
}
