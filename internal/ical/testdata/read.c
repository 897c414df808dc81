/* Prints what libical finds in a calendar: each property of an event as a line with its
 * name, a blank and the bytes of its value in hexadecimal, and a line "end" after each
 * event. */
#include <libical/ical.h>
#include <stdio.h>
#include <string.h>

static char *more(char *into, size_t size, void *file) { return fgets(into, (int)size, file); }

static void print(const char *name, const char *value)
{
	printf("%s ", name);
	for (; *value; value++)
		printf("%02x", (unsigned char)*value);
	printf("\n");
}

int main(int argc, char **argv)
{
	FILE *file = argc > 1 ? fopen(argv[1], "r") : NULL;
	if (!file)
		return 2;
	icalparser *parser = icalparser_new();
	icalparser_set_gen_data(parser, file);
	icalcomponent *cal = icalparser_parse(parser, more);
	if (!cal || icalcomponent_isa(cal) != ICAL_VCALENDAR_COMPONENT)
		return 3;
	if (icalcomponent_count_errors(cal) > 0) {
		fprintf(stderr, "%s\n", icalcomponent_as_ical_string(cal));
		return 4;
	}
	if (!icalrestriction_check(cal)) { /* are all properties there that the standard demands? */
		fprintf(stderr, "%s\n", icalcomponent_as_ical_string(cal));
		return 5;
	}
	icalcomponent *e = icalcomponent_get_first_component(cal, ICAL_VEVENT_COMPONENT);
	for (; e; e = icalcomponent_get_next_component(cal, ICAL_VEVENT_COMPONENT)) {
		icalproperty *p = icalcomponent_get_first_property(e, ICAL_ANY_PROPERTY);
		for (; p; p = icalcomponent_get_next_property(e, ICAL_ANY_PROPERTY)) {
			icalvalue *v = icalproperty_get_value(p);
			const char *name = icalproperty_get_property_name(p), *text = icalvalue_get_text(v);
			if (icalvalue_isa(v) == ICAL_DATETIME_VALUE && !icaltime_is_utc(icalvalue_get_datetime(v)))
				return 6;
			if (icalvalue_isa(v) != ICAL_TEXT_VALUE)
				text = icalvalue_as_ical_string(v);
			print(name, text ? text : "");
		}
		printf("end\n");
	}
	icalparser_free(parser);
	return 0;
}
