//! Names of months and weekdays in several languages: the code of a language comes in, its names with their numbers go
//! out. The names are those of Unicode CLDR 48 and of glibc 2.36, and a few that spreadsheets write, such as `Mrz`.

use serde::Deserialize;

use crate::time_format::Field;

/// The language of the names in a column of times.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum Locale {
    /// English. Its names are in `time_format.rs`.
    #[default]
    English,
    Other(&'static Language),
}

/// The names of one language, in lower case. Full names are for `%B` and `%A`, short names for `%b` and `%a`. In each
/// text, a space separates the names of January from those of February, and a `|` separates names of the same month.
/// Weekdays begin with Monday.
#[derive(Debug)]
pub(crate) struct Language {
    code: &'static str,
    months: &'static str,
    months_short: &'static str,
    weekdays: &'static str,
    weekdays_short: &'static str,
}

/// The names that a directive reads. A value can have them in upper or lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    names: Vec<(&'static str, u32)>,
    /// True if a point after the name belongs to the name.
    pub(crate) has_point: bool,
}

impl TryFrom<String> for Locale {
    type Error = String;

    fn try_from(code: String) -> Result<Self, String> {
        let language = |code: &str| LANGUAGES.iter().find(|language| language.code == code);
        if code == "en" {
            return Ok(Self::English);
        }
        if let Some(language) = language(&code) {
            return Ok(Self::Other(language));
        }
        let start = code.to_ascii_lowercase();
        let start = match start.split(['-', '_', '.']).next().unwrap_or_default() {
            "no" => "nb",
            start => start,
        };
        if start == "en" || language(start).is_some() {
            return Err(format!("\"locale\" is {code:?}: write {start:?}"));
        }
        let codes: Vec<_> = LANGUAGES.iter().map(|language| language.code).collect();
        Err(format!(
            "\"locale\" is {code:?}, whose names of months clean does not know: it knows en, {}",
            codes.join(", ")
        ))
    }
}

impl Locale {
    /// Returns the names for a directive, or `None` if the directive reads no names of a language other than English.
    pub(crate) fn names(self, letter: char) -> Option<(Field, Names)> {
        let Self::Other(language) = self else {
            return None;
        };
        let (field, names, has_point) = match letter {
            'B' => (Field::Month, language.months, false),
            'b' | 'h' => (Field::Month, language.months_short, true),
            'A' => (Field::Weekday, language.weekdays, false),
            'a' => (Field::Weekday, language.weekdays_short, true),
            _ => return None,
        };
        Some((field, Names::new(names, has_point)))
    }
}

impl Names {
    fn new(text: &'static str, has_point: bool) -> Self {
        let numbered = (1..).zip(text.split(' '));
        let names = numbered.flat_map(|(number, names)| names.split('|').map(move |name| (name, number)));
        Self {
            names: names.collect(),
            has_point,
        }
    }

    /// Returns the number of the longest name at the start of the text, and the text after the name.
    #[inline(never)]
    pub(crate) fn find<'a>(&self, text: &'a str) -> Option<(u32, &'a str)> {
        let found = self
            .names
            .iter()
            .filter_map(|&(name, number)| Some((number, skip(name, text)?)));
        let (number, rest) = found.min_by_key(|(_, rest)| rest.len())?;
        let rest = match rest.strip_prefix('.') {
            Some(rest) if self.has_point => rest,
            _ => rest,
        };
        Some((number, rest))
    }
}

/// Returns the text after `name`, or `None` if the text does not begin with the name.
fn skip<'a>(name: &str, text: &'a str) -> Option<&'a str> {
    let mut characters = text.chars();
    for letter in name.chars() {
        let character = characters.next()?;
        if character != letter && !character.to_lowercase().eq([letter]) {
            return None;
        }
    }
    Some(characters.as_str())
}

const LANGUAGES: &[Language] = &[
    Language {
        code: "cs",
        months: "leden|ledna únor|února březen|března duben|dubna květen|května červen|června \
            červenec|července srpen|srpna září říjen|října listopad|listopadu prosinec|prosince",
        months_short: "led úno bře dub kvě čvn|čen čvc|čec srp zář říj lis pro",
        weekdays: "pondělí úterý středa čtvrtek pátek sobota neděle",
        weekdays_short: "po út st čt pá so ne",
    },
    Language {
        code: "da",
        months: "januar februar marts april maj juni juli august september oktober november december",
        months_short: "jan feb mar apr maj jun jul aug sep okt nov dec",
        weekdays: "mandag tirsdag onsdag torsdag fredag lørdag søndag",
        weekdays_short: "man tir|tirs ons tor|tors fre lør søn",
    },
    Language {
        code: "de",
        months: "januar|jänner februar|feber märz april mai juni juli august september oktober november \
            dezember",
        months_short: "jan|jän feb mär|märz|mrz apr mai jun|juni jul|juli aug sep|sept okt nov dez",
        weekdays: "montag dienstag mittwoch donnerstag freitag samstag|sonnabend sonntag",
        weekdays_short: "mo di mi do fr sa so",
    },
    Language {
        code: "es",
        months: "enero febrero marzo abril mayo junio julio agosto septiembre|setiembre octubre \
            noviembre diciembre",
        months_short: "ene feb mar abr may jun jul ago sep|sept|set oct nov dic",
        weekdays: "lunes martes miércoles jueves viernes sábado domingo",
        weekdays_short: "lun mar mié jue vie sáb dom",
    },
    Language {
        code: "fi",
        months: "tammikuu|tammikuuta helmikuu|helmikuuta maaliskuu|maaliskuuta huhtikuu|huhtikuuta \
            toukokuu|toukokuuta kesäkuu|kesäkuuta heinäkuu|heinäkuuta elokuu|elokuuta \
            syyskuu|syyskuuta lokakuu|lokakuuta marraskuu|marraskuuta joulukuu|joulukuuta",
        months_short: "tammi helmi maalis huhti touko kesä heinä elo syys loka marras joulu",
        weekdays: "maanantai tiistai keskiviikko torstai perjantai lauantai sunnuntai",
        weekdays_short: "ma ti ke to pe la su",
    },
    Language {
        code: "fr",
        months: "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
        months_short: "janv févr mars avr|avril mai juin juil|juill août sept oct nov déc",
        weekdays: "lundi mardi mercredi jeudi vendredi samedi dimanche",
        weekdays_short: "lun mar mer jeu ven sam dim",
    },
    Language {
        code: "it",
        months: "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre \
            dicembre",
        months_short: "gen feb mar apr mag giu lug ago set ott nov dic",
        weekdays: "lunedì martedì mercoledì giovedì venerdì sabato domenica",
        weekdays_short: "lun mar mer gio ven sab dom",
    },
    Language {
        code: "nb",
        months: "januar februar mars april mai juni juli august september oktober november desember",
        months_short: "jan feb mar|mars apr|april mai jun|juni jul|juli aug sep okt nov des",
        weekdays: "mandag tirsdag onsdag torsdag fredag lørdag søndag",
        weekdays_short: "man|ma tir|ti ons|on tor|to fre|fr lør|lø søn|sø",
    },
    Language {
        code: "nl",
        months: "januari februari maart april mei juni juli augustus september oktober november \
            december",
        months_short: "jan feb mrt apr mei jun jul aug sep okt nov dec",
        weekdays: "maandag dinsdag woensdag donderdag vrijdag zaterdag zondag",
        weekdays_short: "ma di wo do vr za zo",
    },
    Language {
        code: "pl",
        months: "styczeń|stycznia luty|lutego marzec|marca kwiecień|kwietnia maj|maja czerwiec|czerwca \
            lipiec|lipca sierpień|sierpnia wrzesień|września październik|października \
            listopad|listopada grudzień|grudnia",
        months_short: "sty lut mar kwi maj cze lip sie wrz paź lis gru",
        weekdays: "poniedziałek wtorek środa czwartek piątek sobota niedziela",
        weekdays_short: "pon wt|wto śr|śro czw pt|pią sob nie|niedz",
    },
    Language {
        code: "pt",
        months: "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro \
            dezembro",
        months_short: "jan fev mar abr mai jun jul ago set out nov dez",
        weekdays: "segunda|segunda-feira terça|terça-feira quarta|quarta-feira quinta|quinta-feira \
            sexta|sexta-feira sábado domingo",
        weekdays_short: "seg ter qua qui sex sáb dom",
    },
    Language {
        code: "sv",
        months: "januari februari mars april maj juni juli augusti september oktober november december",
        months_short: "jan feb mar|mars apr maj jun|juni jul|juli aug sep okt nov dec",
        weekdays: "måndag tisdag onsdag torsdag fredag lördag söndag",
        weekdays_short: "mån tis ons tor|tors fre lör sön",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_language_has_each_number_and_no_name_twice() {
        for language in LANGUAGES {
            let tables = [
                (language.months, 12),
                (language.months_short, 12),
                (language.weekdays, 7),
                (language.weekdays_short, 7),
            ];
            for (text, count) in tables {
                let names = Names::new(text, false);
                assert_eq!(text.split(' ').count(), count, "{}: {text}", language.code);
                for &(name, number) in &names.names {
                    assert!(!name.is_empty() && !name.ends_with('.'), "{text}");
                    assert_eq!(name.to_lowercase(), name);
                    for name in [name.to_owned(), name.to_uppercase()] {
                        assert_eq!(names.find(&name), Some((number, "")), "{}: {name}", language.code);
                    }
                }
            }
        }
    }
}
