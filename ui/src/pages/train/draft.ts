/** Where this browser keeps the recipe that is being written. */
export const DRAFT = "stead-train-recipe";
