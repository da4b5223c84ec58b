//! Which traces are recorded: `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`.

use super::variable;
use crate::trace_context::TraceContext;

/// Decides for each trace.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sampler {
    /// Traces that begin elsewhere are recorded if they are there.
    follows_parent: bool,
    /// The share of the others that is recorded.
    ratio: f64,
}

impl Sampler {
    /// Reads the variables; by default everything is recorded that is not left out elsewhere.
    pub(super) fn read() -> Result<Self, String> {
        let name = variable("OTEL_TRACES_SAMPLER").unwrap_or_else(|| "parentbased_always_on".to_owned());
        Self::parse(&name, variable("OTEL_TRACES_SAMPLER_ARG").as_deref())
    }

    fn parse(name: &str, argument: Option<&str>) -> Result<Self, String> {
        let (follows_parent, kind) = match name.strip_prefix("parentbased_") {
            Some(kind) => (true, kind),
            None => (false, name),
        };
        let ratio = match kind {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => ratio(argument)?,
            _ => {
                return Err(format!(
                    "OTEL_TRACES_SAMPLER={name}: use always_on, always_off or traceidratio, also with parentbased_ before it"
                ));
            }
        };
        Ok(Self { follows_parent, ratio })
    }

    /// Whether nothing is ever recorded.
    pub(super) fn is_off(&self) -> bool {
        !self.follows_parent && self.ratio <= 0.0
    }

    /// Whether a request that came with this context, or without one, is recorded.
    pub(super) fn takes(&self, parent: Option<TraceContext>) -> bool {
        match parent {
            Some(parent) if self.follows_parent => parent.is_sampled,
            // Not by the trace's id: clients choose theirs. The hops after this one go by what was decided here.
            _ => self.ratio >= 1.0 || fastrand::f64() < self.ratio,
        }
    }
}

fn ratio(argument: Option<&str>) -> Result<f64, String> {
    let text = argument.unwrap_or("1.0");
    let wrong = || format!("OTEL_TRACES_SAMPLER_ARG={text}: it has to be a number from 0 to 1");
    text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio)).ok_or_else(wrong)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn taken(sampler: &str, argument: Option<&str>, parent: Option<bool>) -> usize {
        let sampler = Sampler::parse(sampler, argument).unwrap();
        let takes = |_: &usize| {
            let root = TraceContext::root();
            let parent = parent.map(|is_sampled| TraceContext { is_sampled, ..root });
            sampler.takes(parent)
        };
        (0..1000).filter(takes).count()
    }

    #[test]
    fn samplers_do_as_their_names_say() {
        assert_eq!(taken("always_on", None, Some(false)), 1000);
        assert_eq!(taken("always_off", None, Some(true)), 0);
        assert_eq!(taken("parentbased_always_on", None, Some(false)), 0);
        assert_eq!(taken("parentbased_always_off", None, Some(true)), 1000);
        assert_eq!(taken("parentbased_always_on", None, None), 1000);
        assert!((100..400).contains(&taken("parentbased_traceidratio", Some("0.25"), None)));
        // Without its first word it decides alone, whatever the client says.
        for parent in [None, Some(true), Some(false)] {
            assert!((100..400).contains(&taken("traceidratio", Some("0.25"), parent)), "{parent:?}");
        }
    }

    #[test]
    fn a_wrong_sampler_is_named() {
        assert!(Sampler::parse("sometimes", None).unwrap_err().contains("OTEL_TRACES_SAMPLER=sometimes"));
        for wrong in ["2", "-1", "NaN", "half"] {
            assert!(Sampler::parse("traceidratio", Some(wrong)).unwrap_err().contains("OTEL_TRACES_SAMPLER_ARG"));
        }
    }
}
