/** What people call what the server names by its place. */
import type { Dataset } from "../../api/types";

function parts(place: string): string[] {
  return place.split(/[/\\]/).filter((p) => p !== "");
}

/** `org--name@commit` is how a hub's model is kept; people know it as `org/name`. */
function published(folder: string): string {
  return folder.includes("--") ? folder.replace("--", "/").replace(/@[0-9a-f]{7,}$/, "") : folder;
}

/** A model by its folder; a run's own folder instead of the `final` inside. */
export function modelName(place: string): string {
  const found = parts(place);
  const last = found.at(-1) ?? place;
  return published(last === "final" ? (found.at(-2) ?? last) : last);
}

/** A data set by the name it was given, else by its file. */
export function dataName(place: string, sets: Dataset[] | undefined): string {
  const found = parts(place);
  return sets?.find((d) => found.includes(d.id))?.name ?? found.at(-1) ?? place;
}
