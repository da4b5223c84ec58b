//! The colours of `top`; none where `NO_COLOR` is set.

use ratatui::style::{Color, Style};

/// How parts of the screen stand out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Theme {
    /// By colours.
    Colours,
    /// By bold and dim letters alone.
    Plain,
}

impl Theme {
    /// As <https://no-color.org> asks for.
    pub(super) fn from_environment() -> Self {
        let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if is_plain { Self::Plain } else { Self::Colours }
    }

    fn coloured(self, colour: Color) -> Style {
        match self {
            Self::Colours => Style::new().fg(colour),
            Self::Plain => Style::new(),
        }
    }

    /// Names, and heads of columns.
    pub(super) fn title(self) -> Style {
        self.coloured(Color::Reset).bold()
    }

    /// What helps, and is not looked for.
    pub(super) fn quiet(self) -> Style {
        self.coloured(Color::Reset).dim()
    }

    /// What is wrong.
    pub(super) fn problem(self) -> Style {
        self.coloured(Color::Red).bold()
    }

    /// The panel that keys are for.
    pub(super) fn focus(self) -> Style {
        self.coloured(Color::Cyan).bold()
    }

    /// Curves.
    pub(super) fn curve(self) -> Style {
        self.coloured(Color::Green)
    }
}
