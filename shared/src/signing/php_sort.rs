//! Sorts as PHP does where its comparison is not transitive, so that the steps of the algorithm decide what comes out.
//! Tested against real PHP.

/// The most items that PHP sorts by insertion.
pub(super) const FEW_MAX: usize = 16;
/// Places before this one are looked through one by one, later ones two by two.
const SINGLE_STEPS: usize = 6;

/// Sorts at most [`FEW_MAX`] items. `is_greater` must decide between any two, as PHP does by their order before the sort.
pub(super) fn sort_few<T>(items: &mut [T], is_greater: impl Fn(&T, &T) -> bool) {
    match items.len() {
        0 | 1 => {}
        2..=5 => {
            if items.len() > 2 {
                sort_three(items, &is_greater);
            }
            let first = if items.len() > 2 { 3 } else { 1 };
            for end in first..items.len() {
                insert(items, place_by_one(items, end, &is_greater), end);
            }
        }
        _ => {
            for end in 1..items.len() {
                let place = if end < SINGLE_STEPS {
                    place_by_one(items, end, &is_greater)
                } else {
                    place_by_two(items, end, &is_greater)
                };
                insert(items, place, end);
            }
        }
    }
}

/// The first three. When the first is greater than the second, and that one than the third, the first and the third are
/// never compared.
fn sort_three<T>(items: &mut [T], is_greater: &impl Fn(&T, &T) -> bool) {
    if !is_greater(&items[0], &items[1]) {
        if is_greater(&items[1], &items[2]) {
            items.swap(1, 2);
            if is_greater(&items[0], &items[1]) {
                items.swap(0, 1);
            }
        }
    } else if is_greater(&items[2], &items[1]) {
        items.swap(0, 1);
        if is_greater(&items[1], &items[2]) {
            items.swap(1, 2);
        }
    } else {
        items.swap(0, 2);
    }
}

/// Moves an item to its place among those before it.
fn insert<T>(items: &mut [T], place: usize, end: usize) {
    items[place..=end].rotate_right(1);
}

fn place_by_one<T>(items: &[T], end: usize, is_greater: &impl Fn(&T, &T) -> bool) -> usize {
    let stays = items[..end].iter().rposition(|item| !is_greater(item, &items[end]));
    stays.map_or(0, |place| place + 1)
}

fn place_by_two<T>(items: &[T], end: usize, is_greater: &impl Fn(&T, &T) -> bool) -> usize {
    let stays = |place: usize| !is_greater(&items[place], &items[end]);
    let mut place = end - 1;
    if stays(place) {
        return end;
    }
    loop {
        place -= 2;
        if stays(place) {
            return if stays(place + 1) { place + 2 } else { place + 1 };
        }
        match place {
            0 => return 0,
            1 => return usize::from(is_greater(&items[end], &items[0])),
            _ => {}
        }
    }
}
