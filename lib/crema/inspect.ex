defmodule Crema.Inspect do
  @moduledoc false
  # Messages and errors as they are shown: in short, whatever is in them, with which a log or a
  # shell could be flooded.

  # Bytes of a key, value or header; headers; characters of an error.
  @most_bytes 64
  @most_headers 5
  @most_characters 500

  @doc "What a key, value or header value is, with its size where it is cut."
  @spec bytes(term) :: String.t()
  def bytes(bytes) when is_binary(bytes) and byte_size(bytes) > @most_bytes do
    start = bytes |> binary_part(0, @most_bytes) |> whole()
    "#{inspect(start)}..(#{byte_size(bytes)} bytes)"
  end

  # Other than binaries there is null, and what a user may have put there.
  def bytes(value), do: inspect(value, limit: 10, printable_limit: @most_bytes)

  # A character that is cut would have the text shown as bytes.
  defp whole(start) do
    Enum.find_value(0..3, start, fn less ->
      shorter = binary_part(start, 0, byte_size(start) - less)
      if String.valid?(shorter), do: shorter
    end)
  end

  @spec headers(term) :: String.t()
  def headers(headers) when is_list(headers) and length(headers) >= 0 do
    shown = headers |> Enum.take(@most_headers) |> Enum.map(&header/1)
    more = length(headers) - length(shown)
    rest = if more > 0, do: ["..(#{more} more)"], else: []
    "[#{Enum.join(shown ++ rest, ", ")}]"
  end

  def headers(other), do: bytes(other)

  defp header({name, value}), do: "{#{bytes(name)}, #{bytes(value)}}"
  defp header(other), do: bytes(other)

  @spec text(term) :: String.t()
  def text(text) when is_binary(text) do
    text = if String.valid?(text), do: text, else: inspect(text)

    if String.length(text) > @most_characters,
      do: String.slice(text, 0, @most_characters) <> "..",
      else: text
  end

  def text(other), do: bytes(other)
end

defimpl Inspect, for: Crema.Message do
  def inspect(message, _opts) do
    # Null and nothing are shown by what is left out, but for the value.
    fields =
      for {name, shown} <- [
            key: message.key && Crema.Inspect.bytes(message.key),
            value: Crema.Inspect.bytes(message.value),
            headers: message.headers not in [[], nil] && Crema.Inspect.headers(message.headers)
          ],
          shown,
          do: ", #{name}: #{shown}"

    place = "#{text(message.topic)} [#{text(message.partition)}] @ #{text(message.offset)}"
    IO.iodata_to_binary(["#Crema.Message<", place, fields, ">"])
  end

  defp text(text) when is_binary(text), do: Crema.Inspect.text(text)
  defp text(other), do: Crema.Inspect.bytes(other)
end

defimpl Inspect, for: Crema.Error do
  # The details may hold messages and results without number.
  def inspect(error, _opts), do: "#Crema.Error<#{Crema.Inspect.text(error.message)}>"
end
