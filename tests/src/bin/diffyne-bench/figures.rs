//! Medians, and ratios of figures that were measured in pairs.

/// The median; NaN of nothing.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The median of each figure.
pub fn medians<const N: usize>(rows: &[[f64; N]]) -> [f64; N] {
    std::array::from_fn(|figure| median(rows.iter().map(|row| row[figure]).collect()))
}

/// The median of each figure's ratio, pair by pair: what both runs of a pair suffered alike cancels out.
pub fn median_ratios<const N: usize>(new: &[[f64; N]], old: &[[f64; N]]) -> [f64; N] {
    let ratios: Vec<[f64; N]> =
        new.iter().zip(old).map(|(new, old)| std::array::from_fn(|figure| new[figure] / old[figure])).collect();
    medians(&ratios)
}
