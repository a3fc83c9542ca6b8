use proptest::prelude::*;

use super::*;

/// The table as RFC 7541 tells it.
#[derive(Default)]
struct Model {
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    max: usize,
}

impl Model {
    fn size(&self) -> usize {
        self.fields.iter().map(|(name, value)| name.len() + value.len() + 32).sum()
    }

    fn shrink(&mut self, room: usize) {
        while !self.fields.is_empty() && self.size() + room > self.max {
            self.fields.pop();
        }
    }

    fn add(&mut self, name: &[u8], value: &[u8]) {
        let size = name.len() + value.len() + 32;
        self.shrink(size);
        if size <= self.max {
            self.fields.insert(0, (name.to_vec(), value.to_vec()));
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Add(Vec<u8>, Vec<u8>),
    Resize(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let bytes =
        || prop_oneof![4 => prop::collection::vec(any::<u8>(), 0..12), 1 => prop::collection::vec(any::<u8>(), 0..90)];
    let step = prop_oneof![
        20 => (bytes(), bytes()).prop_map(|(name, value)| Step::Add(name, value)),
        1 => (0..400_usize).prop_map(Step::Resize),
    ];
    prop::collection::vec(step, 0..80)
}

proptest! {
    #[test]
    fn it_is_a_list_of_pairs(steps in steps()) {
        let (mut table, mut model) = (DynamicTable::new(300), Model { max: 300, ..Model::default() });
        let mut numbers = 0;
        for step in steps {
            match step {
                Step::Add(name, value) => {
                    let line = [&name[..], b": ", &value, b"\r\n"].concat();
                    table.add(&line, name.len(), ());
                    model.add(&name, &value);
                    numbers += usize::from(name.len() + value.len() + 32 <= model.max);
                }
                Step::Resize(max) => {
                    table.set_max(max);
                    model.max = max;
                    model.shrink(0);
                }
            }
            let found: Vec<_> = (0..).map_while(|place| table.get(place)).collect();
            let pairs: Vec<_> = found.iter().map(|field| (field.name().to_vec(), field.value().to_vec())).collect();
            prop_assert_eq!(&pairs, &model.fields);
            prop_assert_eq!((table.size(), table.max()), (model.size(), model.max));
            prop_assert_eq!(table.added() as usize, numbers);
            for place in 0..pairs.len() + 2 {
                let number = table.added().wrapping_sub(place as u32);
                prop_assert_eq!(table.numbered(number).map(|found| found.0), (place < pairs.len()).then_some(place));
            }
            prop_assert!(table.bytes.len() <= 400);
        }
    }
}
