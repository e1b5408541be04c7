//! In which order operators work, and who hands events to whom.

use std::collections::BTreeMap;

/// The operators before each operator, which stand before it in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Graph {
    /// Indexes into the list of operators, each behind all that it gets events from.
    pub(super) order: Vec<usize>,
    /// Of each operator in the list, those that it gets events from; none: it is a source.
    pub(super) before: Vec<Vec<usize>>,
}

impl Graph {
    /// The graph of operators by their ids, each with the ids of its predecessors.
    pub(super) fn of(operators: &[(String, Vec<String>)]) -> Result<Self, String> {
        let places: BTreeMap<&str, usize> =
            operators.iter().enumerate().map(|(place, (id, _))| (id.as_str(), place)).collect();
        if places.len() < operators.len() {
            return Err("two tasks have one id".to_owned());
        }
        let place = |id: &String| {
            let place = places.get(id.as_str()).copied();
            place.ok_or_else(|| format!("a task has the predecessor {id}, which is no task"))
        };
        let before = operators.iter().map(|(_, ids)| ids.iter().map(place).collect());
        let before: Vec<Vec<usize>> = before.collect::<Result<_, _>>()?;
        let mut order: Vec<usize> = Vec::with_capacity(before.len());
        while order.len() < before.len() {
            let is_next = |operator: &usize| {
                let before = before.get(*operator).map_or(&[][..], Vec::as_slice);
                !order.contains(operator) && before.iter().all(|place| order.contains(place))
            };
            let next = (0..before.len()).find(is_next);
            order.push(next.ok_or("the predecessors of tasks lead in a circle")?);
        }
        Ok(Self { order, before })
    }

    /// The same operators, each behind the one that is listed before it.
    pub(super) fn as_listed(count: usize) -> Self {
        let before = |place: usize| place.checked_sub(1).into_iter().collect();
        Self { order: (0..count).collect(), before: (0..count).map(before).collect() }
    }

    /// Whether nobody gets events from this operator.
    pub(super) fn is_sink(&self, operator: usize) -> bool {
        !self.before.iter().any(|before| before.contains(&operator))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_work_behind_those_that_they_get_events_from() {
        let check = |rows: &[(&str, &[&str])], expected: Result<&[usize], &str>| {
            let owned = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
            let operators: Vec<(String, Vec<String>)> =
                rows.iter().map(|(id, before)| ((*id).to_owned(), owned(before))).collect();
            let order = Graph::of(&operators).map(|graph| graph.order);
            assert_eq!(order.as_deref().map_err(String::as_str), expected, "{rows:?}");
        };
        check(&[], Ok(&[]));
        check(&[("a", &[]), ("b", &["a"]), ("c", &["b"])], Ok(&[0, 1, 2]));
        check(&[("c", &["b"]), ("b", &["a"]), ("a", &[])], Ok(&[2, 1, 0]));
        check(&[("a", &[]), ("b", &["a"]), ("c", &["a"]), ("d", &["b", "c"])], Ok(&[0, 1, 2, 3]));
        check(&[("a", &["b"]), ("b", &["a"])], Err("the predecessors of tasks lead in a circle"));
        check(&[("a", &["x"])], Err("a task has the predecessor x, which is no task"));
        check(&[("a", &[]), ("a", &[])], Err("two tasks have one id"));
    }

    #[test]
    fn what_nobody_gets_events_from_is_a_sink() {
        let graph = Graph::as_listed(3);
        assert_eq!([0, 1, 2].map(|place| graph.is_sink(place)), [false, false, true]);
    }
}
