// SPDX-License-Identifier: GPL-2.0

//! The health of a server: what it has answered and what an operator has said, made into a state.
//!
//! ```text
//!                 no answer for `down-after`, no listener, accept queue full
//!        UP ───────────────────────────────────────────────────────────────────> DOWN
//!           <───────────────────────────────────────────────────────────────────
//!                 `up-after` good answers, one after another; then slow start
//! ```
//!
//! DRAIN and MAINT are the operator's, by weight 0 or by command, and hide what is under them. The
//! names are those that HAProxy has made common.
//!
//! Nothing here reads a clock: times are milliseconds since any moment, and never run backwards.

use core::fmt;

/// In how many steps a server that comes back gets its weight.
pub const STEPS: u32 = 16;

/// How a pool's servers are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checks {
    /// How often a server is asked, milliseconds. `None`: never; it is UP for good.
    pub interval_ms: Option<u32>,
    /// When a server counts as silent, milliseconds after its last answer.
    pub down_after_ms: u32,
    /// How many good answers bring a server back.
    pub up_after: u32,
    /// For how long a server that has come back gets less than its weight, milliseconds.
    pub slow_start_ms: u32,
}

/// What becomes of a server's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It gets requests.
    Up,
    /// It gets none, having failed its checks.
    Down,
    /// It gets only those that belong to it and no other.
    Drain,
    /// It gets none, as an operator wants.
    Maint,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Up => "UP",
            Self::Down => "DOWN",
            Self::Drain => "DRAIN",
            Self::Maint => "MAINT",
        })
    }
}

/// Why a server is in its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nothing is known yet.
    Unchecked,
    /// It answers.
    Answers,
    /// It has not answered for this many milliseconds, when that was decided.
    Silent(u32),
    /// Nobody listens there.
    NoListener,
    /// Its accept queue is full.
    QueueFull,
    /// Its weight is 0.
    Weight,
    /// An operator has said so.
    Operator,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unchecked => "not checked yet",
            Self::Answers => "answers",
            Self::Silent(ms) => return write!(f, "no answer for {ms} ms"),
            Self::NoListener => "no listener",
            Self::QueueFull => "accept queue full",
            Self::Weight => "weight 0",
            Self::Operator => "set by operator",
        })
    }
}

/// What an operator has said of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Nothing: its checks decide.
    #[default]
    Ready,
    /// See [`State::Drain`].
    Drain,
    /// See [`State::Maint`].
    Maint,
}

/// What is known of a server's health.
#[derive(Clone, Copy, Debug)]
pub struct Health {
    weight: u16,
    order: Order,
    ordered_ms: u64,
    /// As the checks see it.
    up: bool,
    reason: Reason,
    /// Since when.
    since_ms: u64,
    /// The last answer, or the first question.
    heard_ms: u64,
    /// Whether there was a question after `heard_ms`.
    asked: bool,
    /// Good answers since it went down.
    good: u32,
    /// When slow start began, if it has not ended, and how far it was at the last tick.
    slow_from_ms: Option<u64>,
    slow_step: u32,
}

impl Health {
    /// A server of which nothing is known: UP until it is shown to be otherwise.
    pub const fn new(weight: u16, now_ms: u64) -> Self {
        Self {
            weight,
            order: Order::Ready,
            ordered_ms: now_ms,
            up: true,
            reason: Reason::Unchecked,
            since_ms: now_ms,
            heard_ms: now_ms,
            asked: false,
            good: 0,
            slow_from_ms: None,
            slow_step: STEPS,
        }
    }

    /// The state, its reason, and since when.
    pub fn state(&self) -> (State, Reason, u64) {
        match self.order {
            Order::Maint => (State::Maint, Reason::Operator, self.ordered_ms),
            _ if !self.up => (State::Down, self.reason, self.since_ms),
            Order::Drain => (State::Drain, Reason::Operator, self.ordered_ms),
            Order::Ready if self.weight == 0 => (State::Drain, Reason::Weight, self.ordered_ms),
            Order::Ready => (State::Up, self.reason, self.since_ms),
        }
    }

    /// Whether a request that no other server can have may be offered to it all the same: it is DOWN,
    /// but its machine answers, so that it costs little to find out whether it still is.
    pub fn is_worth_a_try(&self) -> bool {
        self.state().0 == State::Down
            && matches!(self.reason, Reason::NoListener | Reason::QueueFull)
            && self.order == Order::Ready
            && self.weight > 0
    }

    /// The weight that is configured or was ordered.
    pub const fn weight(&self) -> u16 {
        self.weight
    }

    /// The weight that counts now, in units of 1/[`STEPS`]; 0 unless the server is UP.
    pub fn effective_weight(&self, checks: &Checks, now_ms: u64) -> u32 {
        match self.state().0 {
            State::Up => u32::from(self.weight).saturating_mul(self.share(checks, now_ms)),
            State::Down | State::Drain | State::Maint => 0,
        }
    }

    /// How many of the [`STEPS`] of its weight the server gets.
    pub fn share(&self, checks: &Checks, now_ms: u64) -> u32 {
        // Without checks nobody would tell the policy of the steps.
        let (Some(from_ms), Some(_)) = (self.slow_from_ms, checks.interval_ms) else {
            return STEPS;
        };
        let since_ms = now_ms.saturating_sub(from_ms);
        let steps = since_ms
            .saturating_mul(u64::from(STEPS))
            .checked_div(u64::from(checks.slow_start_ms))
            .unwrap_or(u64::from(STEPS));
        steps.clamp(1, u64::from(STEPS)) as u32
    }

    /// The server was asked.
    pub fn asked(&mut self, now_ms: u64) {
        if !core::mem::replace(&mut self.asked, true) && self.reason == Reason::Unchecked {
            // Before the first question there was nothing to answer.
            self.heard_ms = now_ms;
        }
    }

    /// The server has answered: whether somebody listens, and whether the accept queue is full.
    /// Returns whether the state has changed.
    pub fn answered(&mut self, listening: bool, full: bool, checks: &Checks, now_ms: u64) -> bool {
        self.heard_ms = now_ms;
        self.asked = false;
        if !listening {
            return self.fail(Reason::NoListener, now_ms);
        }
        if full {
            return self.fail(Reason::QueueFull, now_ms);
        }
        if self.up {
            // The time is that of the state, which is the same.
            self.reason = Reason::Answers;
            return false;
        }
        self.good = self.good.saturating_add(1);
        // A queue that was full is nothing to be careful about once it is not.
        let was_full = self.reason == Reason::QueueFull;
        if self.good < checks.up_after && !was_full {
            return false;
        }
        self.up = true;
        self.reason = Reason::Answers;
        self.since_ms = now_ms;
        if !was_full && checks.slow_start_ms > 0 {
            self.slow_from_ms = Some(now_ms);
        }
        true
    }

    /// The server has refused a connection. Returns whether the state has changed.
    ///
    /// Without checks nothing would bring it back, so that it stays UP then.
    pub fn refused(&mut self, why: Reason, checks: &Checks, now_ms: u64) -> bool {
        checks.interval_ms.is_some() && self.fail(why, now_ms)
    }

    /// Looks at the clock. Returns whether the state or the weight may have changed.
    pub fn tick(&mut self, checks: &Checks, now_ms: u64) -> bool {
        if checks.interval_ms.is_none() {
            // It was taken out by checks that are no more, or slow start was to follow their steps.
            let was_up = core::mem::replace(&mut self.up, true);
            if !was_up {
                self.since_ms = now_ms;
            }
            let was_slow = self.slow_from_ms.take().is_some();
            self.slow_step = STEPS;
            self.reason = Reason::Unchecked;
            self.asked = false;
            return !was_up || was_slow;
        }
        let step = self.share(checks, now_ms);
        if step == STEPS {
            self.slow_from_ms = None;
        }
        let slow = core::mem::replace(&mut self.slow_step, step) != step;
        let silent_ms = now_ms.saturating_sub(self.heard_ms);
        let silent = self.asked && silent_ms >= u64::from(checks.down_after_ms);
        let failed = silent
            && !matches!(self.reason, Reason::Silent(_))
            && self.fail(
                Reason::Silent(u32::try_from(silent_ms).unwrap_or(u32::MAX)),
                now_ms,
            );
        slow || failed
    }

    /// When silence would be noticed, if there is any.
    pub fn silent_at_ms(&self, checks: &Checks) -> Option<u64> {
        (self.up && self.asked && checks.interval_ms.is_some()).then(|| {
            self.heard_ms
                .saturating_add(u64::from(checks.down_after_ms))
        })
    }

    /// An operator orders. Returns whether the state has changed.
    pub fn order(&mut self, order: Order, now_ms: u64) -> bool {
        let before = self.state();
        if self.order != order {
            self.order = order;
            self.ordered_ms = now_ms;
        }
        self.state() != before
    }

    /// An operator or the configuration gives a weight. Returns whether that is news.
    pub fn reweigh(&mut self, weight: u16, now_ms: u64) -> bool {
        let news = self.weight != weight;
        if news && (self.weight == 0 || weight == 0) && self.order == Order::Ready {
            self.ordered_ms = now_ms;
        }
        self.weight = weight;
        news
    }

    /// It fails. Returns whether the state has changed.
    fn fail(&mut self, why: Reason, now_ms: u64) -> bool {
        let was_up = core::mem::replace(&mut self.up, false);
        if was_up {
            self.since_ms = now_ms;
        }
        self.reason = why;
        self.good = 0;
        self.slow_from_ms = None;
        was_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECKS: Checks = Checks {
        interval_ms: Some(250),
        down_after_ms: 1000,
        up_after: 2,
        slow_start_ms: 16_000,
    };

    fn answer(health: &mut Health, now_ms: u64) -> bool {
        health.answered(true, false, &CHECKS, now_ms)
    }

    #[test]
    fn silence_takes_a_server_out_and_answers_bring_it_back() {
        let mut health = Health::new(4, 5);
        assert_eq!(health.state(), (State::Up, Reason::Unchecked, 5));
        health.asked(10);
        assert_eq!(health.silent_at_ms(&CHECKS), Some(1010));
        assert!(!answer(&mut health, 11));
        assert_eq!(health.state(), (State::Up, Reason::Answers, 5));
        // Silence without a question is none.
        assert!(!health.tick(&CHECKS, 5000));
        health.asked(5000);
        assert!(!health.tick(&CHECKS, 1010));
        assert!(health.tick(&CHECKS, 5001));
        assert_eq!(health.state(), (State::Down, Reason::Silent(4990), 5001));
        assert_eq!(health.effective_weight(&CHECKS, 5001), 0);
        assert!(!health.tick(&CHECKS, 5002), "no news");
        assert!(!answer(&mut health, 6000), "one answer is not enough");
        assert!(answer(&mut health, 6250));
        assert_eq!(health.state(), (State::Up, Reason::Answers, 6250));
    }

    #[test]
    fn a_silence_between_good_answers_begins_the_count_anew() {
        let mut health = Health::new(1, 0);
        health.asked(0);
        assert!(health.tick(&CHECKS, 1000));
        assert!(!answer(&mut health, 1100));
        assert!(!health.answered(false, false, &CHECKS, 1200));
        assert!(!answer(&mut health, 1300));
        assert!(answer(&mut health, 1400));
    }

    #[test]
    fn slow_start_grows_to_the_whole_weight() {
        let mut health = Health::new(10, 0);
        assert_eq!(health.effective_weight(&CHECKS, 0), 10 * STEPS);
        health.asked(0);
        health.tick(&CHECKS, 1000);
        answer(&mut health, 2000);
        answer(&mut health, 2000);
        let mut last = 0;
        for now in (2000..18_000).step_by(100) {
            let news = health.tick(&CHECKS, now);
            let weight = health.effective_weight(&CHECKS, now);
            assert_eq!(news, weight != last, "each change is told");
            assert!(weight >= last.max(10) && weight < 10 * STEPS);
            // Never ahead of the time, and never a whole step behind it.
            let share = (now - 2000) * 160 / 16_000;
            assert!(u64::from(weight) <= share.max(10) && u64::from(weight) + 10 > share);
            last = weight;
        }
        assert!(health.tick(&CHECKS, 18_000));
        assert!(!health.tick(&CHECKS, 18_001));
        assert_eq!(health.effective_weight(&CHECKS, 18_001), 10 * STEPS);
    }

    #[test]
    fn what_the_application_shows_counts_at_once() {
        let mut health = Health::new(1, 0);
        health.asked(0);
        assert!(health.answered(false, false, &CHECKS, 1));
        assert_eq!(health.state(), (State::Down, Reason::NoListener, 1));
        assert!(health.is_worth_a_try());
        assert!(!answer(&mut health, 2));
        assert!(answer(&mut health, 3));
        assert!(!health.is_worth_a_try());
        assert!(health.refused(Reason::QueueFull, &CHECKS, 4));
        assert_eq!(health.state(), (State::Down, Reason::QueueFull, 4));
        assert!(!health.answered(true, true, &CHECKS, 5));
        assert!(answer(&mut health, 6), "room again: at once, and whole");
        assert_eq!(health.effective_weight(&CHECKS, 6), STEPS);
    }

    #[test]
    fn the_reason_is_the_latest_and_the_time_the_first() {
        let mut health = Health::new(1, 0);
        health.asked(0);
        health.answered(false, false, &CHECKS, 1);
        health.asked(2);
        assert!(!health.tick(&CHECKS, 1001));
        assert_eq!(health.state(), (State::Down, Reason::Silent(1000), 1));
    }

    #[test]
    fn an_operator_has_the_last_word() {
        let mut health = Health::new(3, 0);
        assert!(health.order(Order::Drain, 1));
        assert_eq!(health.state(), (State::Drain, Reason::Operator, 1));
        health.asked(1);
        assert!(health.tick(&CHECKS, 2000));
        assert_eq!(health.state().0, State::Down, "a drained server can fail");
        assert!(!health.is_worth_a_try());
        assert!(health.order(Order::Maint, 2001));
        assert_eq!(health.state(), (State::Maint, Reason::Operator, 2001));
        assert!(!health.order(Order::Maint, 2002), "no news");
        assert!(health.order(Order::Ready, 2003));
        assert_eq!(health.state().0, State::Down);
        answer(&mut health, 2004);
        answer(&mut health, 2005);
        assert_eq!(health.state().0, State::Up);
        assert!(health.reweigh(0, 2006));
        assert_eq!(health.state(), (State::Drain, Reason::Weight, 2006));
        assert!(!health.reweigh(0, 2007));
        assert!(health.reweigh(1, 2008));
        assert_eq!(health.state().0, State::Up);
    }

    #[test]
    fn without_checks_a_server_is_up() {
        let off = Checks {
            interval_ms: None,
            ..CHECKS
        };
        let mut health = Health::new(1, 0);
        assert!(!health.refused(Reason::NoListener, &off, 1));
        assert!(!health.tick(&off, 1_000_000));
        health.asked(0);
        assert!(health.tick(&CHECKS, 2_000_000), "they were on for a while");
        assert!(health.tick(&off, 2_000_001));
        assert_eq!(health.state(), (State::Up, Reason::Unchecked, 2_000_001));
        assert_eq!(health.silent_at_ms(&off), None);
    }

    #[test]
    fn without_checks_there_is_no_slow_start() {
        let off = Checks {
            interval_ms: None,
            ..CHECKS
        };
        let mut health = Health::new(5, 0);
        health.answered(false, false, &CHECKS, 1);
        answer(&mut health, 2);
        answer(&mut health, 3);
        assert!(health.tick(&CHECKS, 4));
        assert_eq!(health.effective_weight(&CHECKS, 4), 5);
        assert_eq!(health.effective_weight(&off, 5), 5 * STEPS);
        assert!(health.tick(&off, 5), "the weight is news");
        assert_eq!(health.effective_weight(&off, 5), 5 * STEPS);
        assert!(!health.tick(&off, 6));
        assert!(!health.tick(&CHECKS, 7), "nor does it go on later");
    }
}
