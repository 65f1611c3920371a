import { Page } from "../../shell/page";

export default function Train() {
  return <Page title="Train">{null}</Page>;
}
