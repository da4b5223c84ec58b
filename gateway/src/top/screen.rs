//! What `top` shows, and what keys change of it.
//!
//! Panels stand in a grid: as many of them as have room, those around the one that keys are for. On a terminal of 80
//! columns that is one or two; one can also have all of the room.

use std::collections::HashMap;

use diffyne_shared::admin::overview::{Overview, Unit};
use diffyne_shared::admin::terminal;
use diffyne_shared::telemetry;
use ratatui::Frame;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use serde_json::json;

use super::figures;
use super::panel::{self, Look, PanelState};
use super::theme::Theme;

/// Columns that a panel has at least when several stand side by side.
const PANEL_CHARS_MIN: u16 = 80;
/// Lines that a panel has at least when several stand one above the other.
const PANEL_LINES_MIN: u16 = 7;
/// Panels side by side.
const GRID_COLUMNS_MAX: u16 = 3;
/// Lines of problems; the admin page has all of them.
const PROBLEMS_MAX: usize = 3;
/// On a terminal with fewer lines there are only panels.
const FIGURES_FROM_LINES: u16 = 18;
/// Rows of one page.
const PAGE_ROWS: isize = 10;

const KEYS: &str = "q quit  tab ←→ panel  enter enlarge  ↑↓ rows  s sort  r reverse  space pause";

/// What follows a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The screen is drawn again.
    Continue,
    /// The program ends.
    Quit,
}

/// What is shown.
pub(super) struct Screen {
    address: String,
    overview: Overview,
    /// Why the last look found nothing.
    error: Option<String>,
    /// By the tables' names.
    panels: HashMap<String, PanelState>,
    /// The table that keys are for.
    focus: usize,
    /// That table has all of the room.
    is_enlarged: bool,
    /// It stays as it is.
    is_paused: bool,
    theme: Theme,
}

impl Screen {
    /// Shows what the program at this address has said.
    pub(super) fn new(address: &str, overview: Overview, theme: Theme) -> Self {
        Self {
            address: address.to_owned(),
            overview,
            error: None,
            panels: HashMap::new(),
            focus: 0,
            is_enlarged: false,
            is_paused: false,
            theme,
        }
    }

    /// Takes what a look has found. What was there before stays when it has found nothing.
    pub(super) fn take(&mut self, found: Result<Overview, String>) {
        match found {
            Ok(overview) => {
                self.error = None;
                if !self.is_paused {
                    self.overview = overview;
                    self.panels.retain(|id, _| self.overview.tables.iter().any(|table| table.id == *id));
                    self.focus = self.focus.min(self.overview.tables.len().saturating_sub(1));
                }
            }
            Err(error) => self.error = Some(error),
        }
    }

    /// Does what a key asks for.
    pub(super) fn handle(&mut self, event: &Event) -> Next {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => self.press(*key),
            // A new size: everything is drawn anew.
            _ => Next::Continue,
        }
    }

    fn press(&mut self, key: KeyEvent) -> Next {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c' | 'd') if is_control => return Next::Quit,
            KeyCode::Char('q') => return Next::Quit,
            KeyCode::Esc if self.is_enlarged => self.is_enlarged = false,
            KeyCode::Enter | KeyCode::Char('z') => self.is_enlarged = !self.is_enlarged,
            KeyCode::Tab | KeyCode::Right => self.move_focus(1),
            KeyCode::BackTab | KeyCode::Left => self.move_focus(-1),
            KeyCode::Up => self.scroll(-1),
            KeyCode::Down => self.scroll(1),
            KeyCode::PageUp => self.scroll(-PAGE_ROWS),
            KeyCode::PageDown => self.scroll(PAGE_ROWS),
            KeyCode::Home => self.scroll(isize::MIN),
            KeyCode::End => self.scroll(isize::MAX),
            KeyCode::Char(' ' | 'p') => self.is_paused = !self.is_paused,
            KeyCode::Char('s') => {
                if let Some(table) = self.overview.tables.get(self.focus) {
                    self.panels.entry(table.id.clone()).or_default().sort_by_next(table);
                }
            }
            KeyCode::Char('r') => {
                if let Some(table) = self.overview.tables.get(self.focus) {
                    self.panels.entry(table.id.clone()).or_default().reverse();
                }
            }
            _ => {}
        }
        Next::Continue
    }

    fn move_focus(&mut self, by: isize) {
        let count = self.overview.tables.len().max(1);
        self.focus = (self.focus + count).saturating_add_signed(by) % count;
    }

    fn scroll(&mut self, rows: isize) {
        if let Some(table) = self.overview.tables.get(self.focus) {
            self.panels.entry(table.id.clone()).or_default().scroll(table, rows);
        }
    }

    /// Draws all of it.
    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let problems = self.problems();
        let figures = &self.overview.figures;
        let has_figures = area.height >= FIGURES_FROM_LINES && !self.is_enlarged;
        let lines = if has_figures { figures::lines(figures, area.width) } else { 0 };
        let [head, problem_area, figure_area, panel_area, foot] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(problems.len() as u16),
            Constraint::Length(lines),
            Constraint::Fill(1),
            Constraint::Length(1),
        ])
        .areas(area);
        frame.render_widget(self.head(), head);
        frame.render_widget(Paragraph::new(problems), problem_area);
        figures::draw(frame, figure_area, figures, self.theme);
        self.draw_panels(frame, panel_area);
        frame.render_widget(Line::styled(KEYS, self.theme.quiet()), foot);
    }

    fn head(&self) -> Line<'_> {
        let Overview { program, name, version, uptime_seconds, .. } = &self.overview;
        let uptime = Unit::Seconds.show(&json!(uptime_seconds));
        let who = terminal::letters(&format!("{program} {name}"));
        let about = terminal::letters(&format!("  {version}  up {uptime}  at {}", self.address));
        let mut spans = vec![Span::styled(who, self.theme.title()), Span::styled(about, self.theme.quiet())];
        if self.is_paused {
            spans.push(Span::styled("  PAUSED", self.theme.focus()));
        }
        Line::from(spans)
    }

    fn problems(&self) -> Vec<Line<'_>> {
        let error = self.error.as_ref().map(|error| format!("what is shown is old: {}", telemetry::error(error)));
        let problems = self.overview.problems.iter().map(|problem| terminal::letters(problem));
        let all = error.into_iter().chain(problems).take(PROBLEMS_MAX);
        all.map(|problem| Line::styled(format!("! {problem}"), self.theme.problem())).collect()
    }

    fn draw_panels(&self, frame: &mut Frame<'_>, area: Rect) {
        let tables = &self.overview.tables;
        let cells = if self.is_enlarged { vec![area] } else { grid(area, tables.len()) };
        // The part of the tables that has room, with the one that keys are for.
        let first = self.focus - self.focus % cells.len().max(1);
        let untouched = PanelState::default();
        for (at, (table, cell)) in tables.iter().skip(first).zip(cells).enumerate() {
            let state = self.panels.get(&table.id).unwrap_or(&untouched);
            let look = Look { has_focus: first + at == self.focus, theme: self.theme };
            panel::draw(frame, cell, table, state, look);
        }
    }
}

/// The places of so many panels, or of those that have room.
fn grid(area: Rect, count: usize) -> Vec<Rect> {
    let columns = usize::from((area.width / PANEL_CHARS_MIN).clamp(1, GRID_COLUMNS_MAX)).min(count.max(1));
    let rows = usize::from((area.height / PANEL_LINES_MIN).max(1)).min(count.div_ceil(columns).max(1));
    let lines = Layout::vertical(vec![Constraint::Fill(1); rows]).split(area);
    let cells = lines.iter().flat_map(|line| {
        let cells = Layout::horizontal(vec![Constraint::Fill(1); columns]).split(*line);
        cells.iter().copied().collect::<Vec<_>>()
    });
    cells.collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use diffyne_shared::admin::overview::{Figure, Table};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::style::Color;

    use super::*;

    fn overview() -> Overview {
        let figure = |id: &str, title: &str, unit| Figure {
            id: id.to_owned(),
            title: title.to_owned(),
            unit,
            value: Some(360.0),
            history: (0..360).map(f64::from).collect(),
        };
        let columns = [("name", "Component", Unit::Plain), ("ms", "p99", Unit::Milliseconds)];
        let rows = (0..30).map(|n| json!({"name": format!("App\\C{n:02}\u{1b}[2J"), "ms": n}));
        let table = |id: &str, title: &str| Table::new(id, title, "None was reached.", &columns);
        Overview {
            program: "diffyne-gateway".to_owned(),
            name: "g.1".to_owned(),
            version: "1".to_owned(),
            uptime_seconds: 61,
            problems: vec!["no worker is reachable".to_owned()],
            figures: vec![figure("c", "Connections", Unit::Plain), figure("m", "Memory", Unit::Bytes)],
            tables: vec![
                table("components", "Components").with(rows),
                table("events", "Events"),
                table("limits", "Limits"),
                table("workers", "Workers"),
            ],
            actions: Vec::new(),
        }
    }

    fn screen(theme: Theme) -> Screen {
        Screen::new("127.0.0.1:16001", overview(), theme)
    }

    fn drawn(screen: &Screen, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        terminal.backend().to_string()
    }

    fn press(screen: &mut Screen, code: KeyCode) -> Next {
        screen.handle(&Event::Key(KeyEvent::new(code, KeyModifiers::NONE)))
    }

    #[test]
    fn a_wide_terminal_shows_the_curve_and_all_panels_a_small_one_those_that_have_room() {
        let shown = drawn(&screen(Theme::Colours), 180, 40);
        for words in [
            "diffyne-gateway g.1",
            "up 1 min  at 127.0.0.1:16001",
            "! no worker",
            "Connections: 360",
            "1 h ago",
            "360 B",
        ] {
            assert!(shown.contains(words), "{words}: {shown}");
        }
        for words in ["Components", "Events", "Limits", "Workers", " of 30 ", "q quit", "App\\C00\\u{1b}[2J"] {
            assert!(shown.contains(words), "{words}: {shown}");
        }
        let mut small = screen(Theme::Colours);
        let shown = drawn(&small, 80, 24);
        assert!(shown.contains("Components") && shown.contains("Events") && !shown.contains("Limits"), "{shown}");
        assert!(shown.contains(KEYS) && !shown.contains("1 h ago") && shown.contains("▂▃▄"), "{shown}");
        press(&mut small, KeyCode::Left);
        let shown = drawn(&small, 80, 24);
        assert!(shown.contains("Workers") && !shown.contains("Events"), "{shown}");
        press(&mut small, KeyCode::Tab);
        press(&mut small, KeyCode::Enter);
        let shown = drawn(&small, 80, 24);
        assert!(shown.contains("App\\C17") && !shown.contains("Events"), "one has all of the room: {shown}");
        // No size is too small.
        for (width, height) in [(1, 1), (2, 3), (10, 4), (80, 2), (300, 1), (5, 60)] {
            drawn(&small, width, height);
            press(&mut small, KeyCode::Enter);
        }
    }

    #[test]
    fn keys_sort_scroll_and_pause() {
        let mut screen = screen(Theme::Colours);
        let first = |screen: &Screen| {
            let shown = drawn(screen, 80, 24);
            let line = shown.lines().find(|line| line.contains("App\\C")).unwrap().to_owned();
            line.split("App\\").nth(1).unwrap()[..3].to_owned()
        };
        assert_eq!(first(&screen), "C00");
        press(&mut screen, KeyCode::Char('s'));
        press(&mut screen, KeyCode::Char('s'));
        assert_eq!(first(&screen), "C29", "by p99");
        assert!(drawn(&screen, 80, 24).contains("p99 ▼"));
        press(&mut screen, KeyCode::Char('r'));
        press(&mut screen, KeyCode::Down);
        assert_eq!(first(&screen), "C01");
        press(&mut screen, KeyCode::End);
        assert!(drawn(&screen, 80, 24).contains("of 30") && *first(&screen) > *"C20");
        press(&mut screen, KeyCode::Home);
        assert_eq!(first(&screen), "C00");

        press(&mut screen, KeyCode::Char(' '));
        screen.take(Ok(Overview { uptime_seconds: 7200, ..overview() }));
        let shown = drawn(&screen, 80, 24);
        assert!(shown.contains("PAUSED") && shown.contains("up 1 min"), "{shown}");
        press(&mut screen, KeyCode::Char(' '));
        screen.take(Err("no answer\u{1b}[2J".to_owned()));
        let shown = drawn(&screen, 80, 24);
        assert!(shown.contains("! what is shown is old: no answer\\u{1b}[2J") && shown.contains("up 1 min"), "{shown}");
        // Another program answers there, which has fewer tables.
        screen.take(Ok(Overview { tables: Vec::new(), uptime_seconds: 7200, ..overview() }));
        let shown = drawn(&screen, 80, 24);
        assert!(!shown.contains("old:") && shown.contains("up 2 h"), "{shown}");
        for code in [KeyCode::Tab, KeyCode::Left, KeyCode::Down, KeyCode::Char('s'), KeyCode::Char('r')] {
            assert_eq!(press(&mut screen, code), Next::Continue);
        }
        assert_eq!(press(&mut screen, KeyCode::Char('q')), Next::Quit);
        assert_eq!(screen.handle(&Event::Key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL))), Next::Quit);
    }

    #[test]
    fn without_colours_nothing_has_one() {
        for (theme, has_colours) in [(Theme::Colours, true), (Theme::Plain, false)] {
            let mut terminal = Terminal::new(TestBackend::new(180, 40)).unwrap();
            terminal.draw(|frame| screen(theme).draw(frame)).unwrap();
            let cells = &terminal.backend().buffer().content;
            let is_coloured = cells.iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset);
            assert_eq!(is_coloured, has_colours, "{theme:?}");
        }
    }
}
