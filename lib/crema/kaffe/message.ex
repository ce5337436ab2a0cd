defmodule Crema.Kaffe.Message do
  @moduledoc false
  # Messages as Kaffe has them. For it null and empty are the same: `""` is sent as null, and null
  # comes as `""`.

  @doc "A message as a handler of lists is given it."
  @spec consumed(Crema.Consumer.message(), null :: nil | binary) :: Crema.Kaffe.Consumer.message()
  def consumed(message, null) do
    %{
      topic: message.topic,
      partition: message.partition,
      offset: message.offset,
      key: text(message.key, null),
      value: text(message.value, null),
      ts: message.timestamp,
      ts_type: message.timestamp_type,
      headers: for({name, value} <- message.headers, do: {name, text(value, null)})
    }
  end

  @doc "The same with what the first versions had as well. Single messages have no checksum any more."
  @spec single(Crema.Consumer.message(), null :: nil | binary) :: map
  def single(message, null),
    do: Map.merge(consumed(message, null), %{attributes: 0, crc: nil, magic_byte: 2})

  defp text(nil, null), do: null
  defp text(text, _null), do: text

  @doc "A message to produce; those of a list have a time."
  @spec produced(binary, {term, term} | map, null :: nil | binary) ::
          Crema.Message.produced()
  def produced(topic, {key, value}, null),
    do: %{topic: topic, key: key, value: value} |> null(null)

  def produced(topic, %{key: key, value: value} = message, null) do
    sent = %{topic: topic, key: key, value: value, headers: Map.get(message, :headers, [])}

    case message do
      %{ts: ts} -> Map.put(sent, :timestamp, ts)
      _ -> sent
    end
    |> null(null)
  end

  defp null(message, nil), do: message

  # An empty key is hashed as such all the same.
  defp null(%{key: ""} = message, ""),
    do: null(%{message | key: nil}, "") |> Map.put(:partition_key, "")

  defp null(%{value: ""} = message, ""), do: %{message | value: nil}
  defp null(message, ""), do: message
end
