//! Pictures that a user uploads, looks at and puts into an album, with their progress and what is wrong with them.

use diffyne_worker::component::{Definition, Rules};
use serde::{Deserialize, Serialize};

pub const CLASS: &str = "Gallery\\Album";
/// The most pictures of an album.
const PICTURES_MAX: usize = 6;

#[derive(Default, Serialize, Deserialize)]
pub struct Album {
    /// The handle of the picture that was uploaded last.
    picture: String,
    /// The pictures in the album: name, size in KiB and handle.
    pictures: Vec<Picture>,
}

#[derive(Default, Serialize, Deserialize)]
struct Picture {
    name: String,
    kib: u64,
    handle: String,
}

const VIEW: &str = r#"<form diff:submit="add" class="form">
  <label>Picture <input type="file" diff:model="picture" accept="image/*"></label>
  <progress diff:progress="picture" aria-label="Upload" hidden></progress><em diff:error="picture"></em>
  {% if picture %}<img src="/_diffyne/preview?id={{ picture }}" alt="preview" width="160">{% endif %}
  <button diff:loading.attr.disabled.true>Add to the album</button>
  <ol>{% for shown in pictures %}<li diff:key="{{ shown.handle }}">{{ shown.name }}, {{ shown.kib }} KiB</li>{% endfor %}</ol>
  {% if not pictures %}<p class="quiet">The album is empty. Choose a picture of at most 2 MB.</p>{% endif %}
</form>"#;

pub fn definition() -> Definition<Album> {
    Definition::<Album>::new(CLASS)
        .template(VIEW)
        .locked(["pictures"])
        .rules(Rules::new([("picture", "required|image|mimes:png,jpg,webp|max:2048")]))
        .updated(|album, context, property| context.validate_only(album, property))
        .method("add", [], |album, context, ()| {
            context.validate(album)?;
            // A real application moves the file to where it stays: file.move_to(...).
            if let Some(file) = context.file(&album.picture) {
                let handle = std::mem::take(&mut album.picture);
                album.pictures.push(Picture { name: file.name().to_owned(), kib: file.size().div_ceil(1024), handle });
                let surplus = album.pictures.len().saturating_sub(PICTURES_MAX);
                album.pictures.drain(..surplus);
            }
            Ok(())
        })
}
